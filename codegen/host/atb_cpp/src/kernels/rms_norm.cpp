// RmsNorm alone, and fused with the residual addition before (PRENORM) or after it (POSTNORM).
#include <cmath>

#include "atb/operation.h"
#include "atb/params/norm_params.h"
#include "core/kernel.h"
#include "kernels/quantize.h"

namespace atb_host {
namespace {

using atb::infer::RmsNormParam;

constexpr float kSmallestEpsilon = 2e-38F;

/// What the three layer types have in common.
struct Norm {
    RmsNormParam::RmsNormType layer;
    bool quantizes;
    float epsilon;
    bool has_bias;
    bool gemma;
};

/// `x / sqrt(mean(x²) + eps)` over the last dimension.
at::Tensor Rms(const at::Tensor &x, double epsilon) {
    return x * (x.pow(2).mean(-1, /*keepdim=*/true) + epsilon).rsqrt();
}

class RmsNorm : public Kernel {
public:
    explicit RmsNorm(const Norm &norm) : norm_(norm) {}

    std::vector<Operand> Operands() const override {
        // The fused quantizing PRENORM exists for float16 only.
        const DTypes dtypes = norm_.quantizes && Pre() ? kFloat16 : kHalf;
        std::vector<Operand> made = {{"x", dtypes}};
        if (norm_.has_bias) {
            made.push_back({"bias", dtypes, "x"});
        }
        if (Residual()) {
            made.push_back({"res_in", dtypes, "x"});
        }
        made.push_back({"gamma", dtypes, "x"});
        if (norm_.quantizes) {
            if (!Post()) {
                made.push_back({"beta", dtypes, "x"});
            }
            made.push_back({"scale", dtypes, "x"});
            made.push_back({"offset", kInt8});
        }
        return made;
    }

    uint32_t ResultCount() const override { return Pre() || (Post() && norm_.quantizes) ? 2 : 1; }
    bool MayOverwrite() const override { return true; }

    std::vector<Type> Infer(const Types &types) const override {
        const Type &x = types["x"];
        Type y = x;
        y.dtype = norm_.quantizes ? ACL_INT8 : x.dtype;
        if (x.rank() == 0) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM_NUM, "x ", Str(x), " has no dimension");
        }
        return ResultCount() == 2 ? std::vector<Type>{y, x} : std::vector<Type>{y};
    }

    void Limits(const Types &types, std::vector<std::string> *found) const override {
        const Type &x = types["x"];
        const int64_t size = x.shape.back();
        const Type &gamma = types["gamma"];
        if (Volume(gamma.shape) != size || gamma.rank() == 0 || gamma.shape.back() != size) {
            found->push_back(Cat("gamma ", Str(gamma), " is not [", size, "]"));
        }
        const int64_t multiple = Post() && norm_.quantizes ? 32 : 16;
        if (!IsMultiple(size, multiple)) {
            found->push_back(Cat("the last dimension ", size, " is not a multiple of ", multiple));
        }
        for (const char *name : {"scale", "offset"}) {
            if (types.Has(name) && types[name].shape != Shape{1}) {
                found->push_back(Cat(name, " must be [1], is ", Str(types[name])));
            }
        }
        if (types.Has("beta") && types["beta"].shape != gamma.shape) {
            found->push_back(Cat("beta ", Str(types["beta"]), " does not have the shape of gamma"));
        }
        if (types.Has("res_in") && types["res_in"].shape != x.shape) {
            found->push_back(Cat("res_in ", Str(types["res_in"]), " does not have the shape of x"));
        }
        if (types.Has("bias") && types["bias"].shape != Shape{size}) {
            found->push_back(Cat("bias ", Str(types["bias"]), " is not [", size, "]"));
        }
    }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &) const override {
        at::Tensor x = Wide(inputs["x"]);
        if (Residual()) {
            x = x + Wide(inputs["res_in"]);
        }
        if (norm_.has_bias) {
            x = x + Wide(inputs["bias"]);
        }
        at::Tensor gamma = Wide(inputs["gamma"]);
        if (norm_.gemma) {
            gamma = gamma + 1.0;
        }
        at::Tensor y = Rms(x, norm_.epsilon) * gamma;
        const at::Tensor normed = y;
        if (norm_.quantizes) {
            y = inputs.Has("beta") ? y + Wide(inputs["beta"]) : y;
            y = Quantize(y, inputs["scale"], &inputs["offset"]);
        }
        if (ResultCount() == 1) {
            return {y};
        }
        return {y, Pre() ? x : normed};
    }

private:
    bool Pre() const { return norm_.layer == RmsNormParam::RMS_NORM_PRENORM; }
    bool Post() const { return norm_.layer == RmsNormParam::RMS_NORM_POSTNORM; }
    bool Residual() const { return Pre() || Post(); }

    Norm norm_;
};

Norm Plain(const RmsNormParam::NormParam &param) {
    CheckReserved(param.rsv, "RmsNormParam.normParam");
    Require(!param.rstd, "normParam.rstd is not available on the host runtime");
    Require(param.precisionMode == RmsNormParam::HIGH_PRECISION_MODE,
            "normParam.precisionMode must stay HIGH_PRECISION_MODE");
    Require(param.modelType <= RmsNormParam::GEMMA_MODEL && param.modelType >= 0,
            "normParam.modelType is unknown");
    Require(param.dynamicQuantType == atb::infer::DYNAMIC_QUANT_UNDEFINED,
            "normParam.dynamicQuantType must stay DYNAMIC_QUANT_UNDEFINED");
    const bool gemma = param.modelType == RmsNormParam::GEMMA_MODEL;
    const bool quantizes = param.quantType == atb::infer::QUANT_INT8;
    Require(!gemma || !quantizes, "modelType cannot be set together with quantType");
    return {RmsNormParam::RMS_NORM_NORM, quantizes, param.epsilon, false, gemma};
}

template <typename Fused>
Norm Residual(RmsNormParam::RmsNormType layer, const Fused &param, const char *group) {
    CheckReserved(param.rsv, Cat("RmsNormParam.", group));
    const bool quantizes = param.quantType == atb::infer::QUANT_INT8;
    Require(!param.hasBias || !quantizes, "hasBias cannot be set together with quantType");
    return {layer, quantizes, param.epsilon, param.hasBias, false};
}

void CheckQuantType(atb::infer::QuantType type) {
    Require(type == atb::infer::QUANT_UNQUANT || type == atb::infer::QUANT_INT8,
            "quantType is neither QUANT_UNQUANT nor QUANT_INT8");
}

std::unique_ptr<Kernel> Make(const RmsNormParam &param) {
    CheckReserved(param.rsv, "RmsNormParam");
    Norm norm = {};
    switch (param.layerType) {
        case RmsNormParam::RMS_NORM_NORM:
            CheckQuantType(param.normParam.quantType);
            norm = Plain(param.normParam);
            break;
        case RmsNormParam::RMS_NORM_PRENORM:
            CheckQuantType(param.preNormParam.quantType);
            norm = Residual(param.layerType, param.preNormParam, "preNormParam");
            break;
        case RmsNormParam::RMS_NORM_POSTNORM:
            CheckQuantType(param.postNormParam.quantType);
            norm = Residual(param.layerType, param.postNormParam, "postNormParam");
            break;
        default: Fail(atb::ERROR_INVALID_PARAM, "layerType must be NORM, PRENORM or POSTNORM");
    }
    Require(std::abs(norm.epsilon) >= kSmallestEpsilon, "epsilon must not be zero");
    return std::make_unique<RmsNorm>(norm);
}

}  // namespace
}  // namespace atb_host

ATB_HOST_OPERATION(RmsNormParam, "RmsNorm")
