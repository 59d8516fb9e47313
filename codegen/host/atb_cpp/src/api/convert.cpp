#include "api/convert.h"

#include "core/refusal.h"
#include "core/session.h"
#include "core/types.h"

namespace atb_host {

atb::Tensor FromC(const LlmcTensor &tensor, const std::string &what) {
    atb::Tensor made;
    made.desc.dtype = static_cast<aclDataType>(tensor.dtype);
    made.desc.format = ACL_FORMAT_ND;
    made.desc.shape.dimNum = static_cast<uint64_t>(tensor.rank);
    for (size_t i = 0; i < atb::MAX_DIM; ++i) {
        made.desc.shape.dims[i] = tensor.dims[i];
    }
    made.deviceData = tensor.data;
    made.hostData = tensor.host;
    made.dataSize = tensor.bytes;
    const Precision precision = CurrentSession().precision;
    const aclDataType half = precision == Precision::kFloat16    ? ACL_FLOAT16
                             : precision == Precision::kBfloat16 ? ACL_BF16
                                                                 : ACL_FLOAT;
    if (IsHalf(made.desc.dtype) && made.desc.dtype != half) {
        Fail(atb::ERROR_INVALID_TENSOR_DTYPE, what, " is ", Str(TypeOf(made.desc, what)), " in a ",
             Str(half), " run");
    }
    return made;
}

std::vector<atb::Tensor> FromC(const LlmcTensor *tensors, int32_t count, const std::string &what) {
    std::vector<atb::Tensor> made;
    for (int32_t i = 0; i < count; ++i) {
        made.push_back(FromC(tensors[i], Cat(what, " ", i)));
    }
    return made;
}

LlmcTensor ToC(const atb::TensorDesc &desc) {
    LlmcTensor made = {};
    made.dtype = desc.dtype;
    made.rank = static_cast<int32_t>(desc.shape.dimNum);
    for (size_t i = 0; i < atb::MAX_DIM; ++i) {
        made.dims[i] = i < desc.shape.dimNum ? desc.shape.dims[i] : 0;
    }
    return made;
}

LlmcTensor ToC(const atb::Tensor &tensor) {
    LlmcTensor made = ToC(tensor.desc);
    made.data = tensor.deviceData;
    made.bytes = tensor.dataSize;
    return made;
}

void GiveDescs(const std::vector<atb::TensorDesc> &descs, LlmcTensor *outputs, int32_t room,
               int32_t *count) {
    Require(descs.size() <= static_cast<size_t>(room), descs.size(), " outputs, room for ", room);
    for (size_t i = 0; i < descs.size(); ++i) {
        TypeOf(descs[i], Cat("output ", i, " of InferShape"));
        outputs[i] = ToC(descs[i]);
    }
    *count = static_cast<int32_t>(descs.size());
}

int32_t Answer(const std::function<void()> &function) {
    TakeMessage();
    const atb::Status status = Guard(function);
    return status == atb::NO_ERROR && HasMessage() ? atb::ERROR_INTERNAL_ERROR : status;
}

}  // namespace atb_host
