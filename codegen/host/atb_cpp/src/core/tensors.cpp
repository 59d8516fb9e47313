#include "core/tensors.h"

#include <limits>

#include "core/refusal.h"

namespace atb_host {

at::ScalarType ScalarOf(aclDataType dtype) {
    switch (dtype) {
        case ACL_FLOAT: return at::kFloat;
        case ACL_FLOAT16: return at::kHalf;
        case ACL_BF16: return at::kBFloat16;
        case ACL_INT8: return at::kChar;
        case ACL_UINT8: return at::kByte;
        case ACL_INT32: return at::kInt;
        case ACL_INT64: return at::kLong;
        case ACL_DOUBLE: return at::kDouble;
        case ACL_BOOL: return at::kBool;
        default:
            Fail(atb::ERROR_INVALID_TENSOR_DTYPE, "the host runtime has no tensors of ",
                 Str(dtype));
    }
}

uint64_t BytesOf(const Type &type) {
    return static_cast<uint64_t>(Volume(type.shape)) * aclDataTypeSize(type.dtype);
}

at::Tensor ViewOf(void *data, const Type &type) {
    return FromBlob(data, type.shape, ScalarOf(type.dtype));
}

at::Tensor ViewOf(const atb::Tensor &tensor, const std::string &what) {
    const Type type = TypeOf(tensor.desc, what);
    if (tensor.dataSize != BytesOf(type)) {
        Fail(atb::ERROR_INVALID_TENSOR_SIZE, what, " is ", Str(type), ", but dataSize is ",
             tensor.dataSize, " bytes");
    }
    if (tensor.deviceData == nullptr && Volume(type.shape) != 0) {
        Fail(atb::ERROR_INVALID_TENSOR_ADDR, what, " has no data");
    }
    return ViewOf(tensor.deviceData, type);
}

at::Tensor Allocate(const Type &type) {
    const double garbage = IsFloat(type.dtype) ? std::numeric_limits<double>::quiet_NaN() : -99;
    return Filled(type.shape, garbage, ScalarOf(type.dtype));
}

atb::Tensor TensorOver(const at::Tensor &tensor, const Type &type) {
    atb::Tensor made;
    made.desc = DescOf(type);
    made.deviceData = tensor.data_ptr();
    made.dataSize = BytesOf(type);
    return made;
}

}  // namespace atb_host
