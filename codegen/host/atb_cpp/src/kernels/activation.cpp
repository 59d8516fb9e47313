// Non-linearities.
#include "atb/operation.h"
#include "atb/params/elewise_params.h"
#include "core/kernel.h"

namespace atb_host {
namespace {

using namespace atb::infer;  // NOLINT: the enumeration's values fill this file

class Activation : public Kernel {
public:
    explicit Activation(const ActivationParam &param) : param_(param) {}

    std::vector<Operand> Operands() const override {
        switch (param_.activationType) {
            case ACTIVATION_RELU: return {{"x", {ACL_FLOAT, ACL_BF16}}};
            case ACTIVATION_GELU:
            case ACTIVATION_LOG:
            case ACTIVATION_SWIGLU_FORWARD: return {{"x", kFloat}};
            default: return {{"x", kHalf}};
        }
    }

    bool MayOverwrite() const override { return !SwiGlu(); }

    std::vector<Type> Infer(const Types &types) const override {
        Type y = types["x"];
        if (SwiGlu()) {
            if (y.rank() == 0 || !IsMultiple(y.shape.back(), 2)) {
                Fail(atb::ERROR_INVALID_TENSOR_DIM, "the last dimension of ", Str(y),
                     " cannot be halved");
            }
            y.shape.back() /= 2;
        }
        return {y};
    }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &) const override {
        const at::Tensor x = Wide(inputs["x"]);
        switch (param_.activationType) {
            case ACTIVATION_RELU: return {x.relu()};
            case ACTIVATION_GELU: return {Gelu(x, param_.geluMode == ActivationParam::NONE_MODE)};
            case ACTIVATION_FAST_GELU: return {x * (x * 1.702).sigmoid()};
            case ACTIVATION_SWISH: return {Silu(x)};
            case ACTIVATION_LOG: return {x.log()};
            case ACTIVATION_SIGMOID: return {x.sigmoid()};
            default: break;
        }
        const int64_t half = x.size(-1) / 2;
        return {Silu(x.narrow(-1, 0, half)) * x.narrow(-1, half, half)};
    }

private:
    bool SwiGlu() const { return param_.activationType == ACTIVATION_SWIGLU_FORWARD; }

    ActivationParam param_;
};

std::unique_ptr<Kernel> Make(const ActivationParam &param) {
    CheckReserved(param.rsv, "ActivationParam");
    switch (param.activationType) {
        case ACTIVATION_RELU:
        case ACTIVATION_GELU:
        case ACTIVATION_FAST_GELU:
        case ACTIVATION_SWISH:
        case ACTIVATION_LOG:
        case ACTIVATION_SWIGLU_FORWARD:
        case ACTIVATION_SIGMOID: break;
        default:
            Fail(atb::ERROR_INVALID_PARAM, "activationType ",
                 static_cast<int>(param.activationType), " is not known to the host runtime");
    }
    Require(param.dim == -1, "dim must be -1, is ", param.dim);
    Require(param.geluMode == ActivationParam::TANH_MODE ||
                param.geluMode == ActivationParam::NONE_MODE,
            "geluMode is unknown");
    return std::make_unique<Activation>(param);
}

}  // namespace
}  // namespace atb_host

ATB_HOST_OPERATION(ActivationParam, "Activation")
