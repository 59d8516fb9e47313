// ACL's runtime calls and ATB's helpers and context, on the CPU.
#include "acl/acl.h"

#include <cstring>

#include "atb/context.h"
#include "atb/utils.h"
#include "core/refusal.h"

extern "C" {

aclError aclrtGetDevice(int32_t *deviceId) {
    *deviceId = 0;
    return ACL_SUCCESS;
}

aclError aclrtSetDevice(int32_t deviceId) {
    (void)deviceId;
    return ACL_SUCCESS;
}

aclError aclrtSynchronizeStream(aclrtStream stream) {
    (void)stream;
    return ACL_SUCCESS;
}

size_t aclDataTypeSize(aclDataType dataType) {
    switch (dataType) {
        case ACL_BOOL:
        case ACL_INT8:
        case ACL_UINT8: return 1;
        case ACL_FLOAT16:
        case ACL_BF16:
        case ACL_INT16:
        case ACL_UINT16: return 2;
        case ACL_FLOAT:
        case ACL_INT32:
        case ACL_UINT32: return 4;
        case ACL_DOUBLE:
        case ACL_INT64:
        case ACL_UINT64:
        case ACL_COMPLEX64: return 8;
        case ACL_COMPLEX128: return 16;
        default: return 0;
    }
}

}  // extern "C"

namespace atb {
namespace {

class HostContext : public Context {
public:
    Status SetExecuteStream(aclrtStream stream) override {
        streams_ = {stream};
        return NO_ERROR;
    }
    aclrtStream GetExecuteStream() const override {
        return streams_.empty() ? nullptr : streams_.front();
    }
    Status SetAsyncTilingCopyStatus(bool enable) override {
        asynchronous_ = enable;
        return NO_ERROR;
    }
    bool GetAsyncTilingCopyStatus() const override { return asynchronous_; }
    Status SetExecuteStreams(const std::vector<aclrtStream> &streams) override {
        streams_ = streams;
        return NO_ERROR;
    }
    std::vector<aclrtStream> GetExecuteStreams() override { return streams_; }
    Status SetExecuteType(ExecuteType type) override {
        type_ = type;
        return NO_ERROR;
    }
    ExecuteType GetExecuteType() override { return type_; }
    Status SetLaunchMode(LaunchMode mode) override {
        mode_ = mode;
        return NO_ERROR;
    }
    LaunchMode GetLaunchMode() override { return mode_; }

private:
    std::vector<aclrtStream> streams_;
    bool asynchronous_ = false;
    ExecuteType type_ = EXECUTE_NORMAL;
    LaunchMode mode_ = KERNEL_LAUNCH_MODE;
};

}  // namespace

Status CreateContext(Context **context) {
    return atb_host::Guard([&] {
        atb_host::Require(context != nullptr, "the context pointer is null");
        *context = new HostContext();
    });
}

Status DestroyContext(Context *context) {
    delete context;
    return NO_ERROR;
}

std::string Utils::GetAtbVersion() { return "llm-codegen host runtime"; }

uint64_t Utils::GetTensorNumel(const TensorDesc &tensorDesc) {
    uint64_t count = tensorDesc.shape.dimNum == 0 ? 0 : 1;
    for (uint64_t i = 0; i < tensorDesc.shape.dimNum && i < MAX_DIM; ++i) {
        count *= static_cast<uint64_t>(tensorDesc.shape.dims[i]);
    }
    return count;
}

uint64_t Utils::GetTensorNumel(const Tensor &tensor) { return GetTensorNumel(tensor.desc); }

uint64_t Utils::GetTensorSize(const TensorDesc &tensorDesc) {
    return GetTensorNumel(tensorDesc) * aclDataTypeSize(tensorDesc.dtype);
}

uint64_t Utils::GetTensorSize(const Tensor &tensor) { return GetTensorSize(tensor.desc); }

void Utils::QuantParamConvert(const float *src, uint64_t *dest, uint64_t itemCount) {
    for (uint64_t i = 0; i < itemCount; ++i) {
        uint32_t bits = 0;
        std::memcpy(&bits, &src[i], sizeof(bits));
        dest[i] = bits;
    }
}

}  // namespace atb
