#include "core/types.h"

#include "core/refusal.h"

namespace atb_host {

std::string Str(aclDataType dtype) {
    switch (dtype) {
        case ACL_FLOAT: return "float32";
        case ACL_FLOAT16: return "float16";
        case ACL_BF16: return "bfloat16";
        case ACL_INT8: return "int8";
        case ACL_UINT8: return "uint8";
        case ACL_INT32: return "int32";
        case ACL_INT64: return "int64";
        case ACL_UINT32: return "uint32";
        case ACL_UINT64: return "uint64";
        case ACL_DOUBLE: return "float64";
        case ACL_BOOL: return "bool";
        case ACL_DT_UNDEFINED: return "undefined";
        default: return Cat("aclDataType ", static_cast<int>(dtype));
    }
}

std::string Str(const Shape &shape) {
    std::string text = "[";
    for (size_t i = 0; i < shape.size(); ++i) {
        text += Cat(i == 0 ? "" : ", ", shape[i]);
    }
    return text + "]";
}

std::string Str(const Type &type) { return Str(type.dtype) + Str(type.shape); }

Type TypeOf(const atb::TensorDesc &desc, const std::string &what) {
    if (desc.shape.dimNum > atb::MAX_DIM) {
        Fail(atb::ERROR_INVALID_TENSOR_DIM_NUM, what, " has ", desc.shape.dimNum,
             " dimensions, limit 8");
    }
    Type type{desc.dtype, Shape(desc.shape.dims, desc.shape.dims + desc.shape.dimNum)};
    if (desc.dtype == ACL_DT_UNDEFINED) {
        Fail(atb::ERROR_INVALID_TENSOR_DTYPE, what, " has no element type");
    }
    if (desc.format != ACL_FORMAT_ND) {
        Fail(atb::ERROR_INVALID_TENSOR_FORMAT, what, " has format ", static_cast<int>(desc.format),
             ", the host runtime takes ACL_FORMAT_ND");
    }
    for (const int64_t size : type.shape) {
        if (size < 0) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM, what, " has a negative size: ", Str(type));
        }
    }
    return type;
}

atb::TensorDesc DescOf(const Type &type) {
    if (type.rank() > atb::MAX_DIM) {
        Fail(atb::ERROR_INVALID_TENSOR_DIM_NUM, Str(type), " has more than 8 dimensions");
    }
    atb::TensorDesc desc;
    desc.dtype = type.dtype;
    desc.format = ACL_FORMAT_ND;
    desc.shape.dimNum = type.rank();
    for (size_t i = 0; i < atb::MAX_DIM; ++i) {
        desc.shape.dims[i] = i < type.rank() ? type.shape[i] : 0;
    }
    return desc;
}

int64_t Volume(const Shape &shape) {
    int64_t volume = 1;
    for (const int64_t size : shape) {
        volume *= size;
    }
    return volume;
}

bool IsHalf(aclDataType dtype) { return dtype == ACL_FLOAT16 || dtype == ACL_BF16; }

bool IsFloat(aclDataType dtype) { return IsHalf(dtype) || dtype == ACL_FLOAT; }

size_t AxisOf(int64_t axis, size_t rank) {
    const auto count = static_cast<int64_t>(rank);
    if (axis < -count || axis >= count) {
        Fail(atb::ERROR_INVALID_TENSOR_DIM, "axis ", axis, " is not in ", -count, "..", count - 1);
    }
    return static_cast<size_t>(axis < 0 ? axis + count : axis);
}

}  // namespace atb_host
