// LayerNorm over the last dimensions, those of gamma.
#include <cmath>

#include "atb/operation.h"
#include "atb/params/norm_params.h"
#include "core/kernel.h"
#include "kernels/quantize.h"

namespace atb_host {
namespace {

using atb::infer::LayerNormParam;

constexpr float kSmallestEpsilon = 2e-38F;

class LayerNorm : public Kernel {
public:
    explicit LayerNorm(const LayerNormParam::NormParam &param) : param_(param) {}

    std::vector<Operand> Operands() const override {
        const DTypes dtypes = Quantizes() ? kHalf : kFloat;
        std::vector<Operand> made = {{"x", dtypes}, {"gamma", dtypes, "x"}, {"beta", dtypes, "x"}};
        if (Quantizes()) {
            made.push_back({"scale", kHalf, "x"});
            made.push_back({"offset", kInt8});
        }
        return made;
    }

    bool MayOverwrite() const override { return true; }

    std::vector<Type> Infer(const Types &types) const override {
        Type y = types["x"];
        y.dtype = Quantizes() ? ACL_INT8 : y.dtype;
        return {y};
    }

    void Limits(const Types &types, std::vector<std::string> *found) const override {
        const Type &x = types["x"];
        const Type &gamma = types["gamma"];
        const auto rank = static_cast<int64_t>(x.rank());
        const auto normed = static_cast<int64_t>(gamma.rank());
        const int64_t axis = param_.beginNormAxis;
        if (normed == 0 || (axis >= 0 ? axis : rank + axis) + normed != rank) {
            found->push_back(Cat("beginNormAxis ", axis, " with gamma of rank ", normed,
                                 " does not cover rank ", rank));
        } else if (Shape(x.shape.end() - normed, x.shape.end()) != gamma.shape) {
            found->push_back(Cat("gamma ", Str(gamma), " is not the end of x ", Str(x)));
        }
        if (types["beta"].shape != gamma.shape) {
            found->push_back(Cat("beta ", Str(types["beta"]), " does not have the shape of gamma"));
        }
        if (!Quantizes()) {
            return;
        }
        if (rank == 0 || !IsMultiple(x.shape.back(), 16)) {
            found->push_back(Cat("the last dimension of ", Str(x), " is not a multiple of 16"));
        }
        for (const char *name : {"scale", "offset"}) {
            if (types[name].shape != Shape{1}) {
                found->push_back(Cat(name, " must be [1], is ", Str(types[name])));
            }
        }
    }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &types) const override {
        const at::Tensor x = Wide(inputs["x"]);
        Shape dims;
        for (auto axis = -static_cast<int64_t>(types["gamma"].rank()); axis < 0; ++axis) {
            dims.push_back(axis);
        }
        const at::Tensor centred = x - x.mean(at::IntArrayRef(dims), /*keepdim=*/true);
        const at::Tensor variance = centred.pow(2).mean(at::IntArrayRef(dims), /*keepdim=*/true);
        const at::Tensor y = centred * (variance + param_.epsilon).rsqrt() * Wide(inputs["gamma"]) +
                             Wide(inputs["beta"]);
        return {Quantizes() ? Quantize(y, inputs["scale"], &inputs["offset"]) : y};
    }

private:
    bool Quantizes() const { return param_.quantType == atb::infer::QUANT_INT8; }

    LayerNormParam::NormParam param_;
};

std::unique_ptr<Kernel> Make(const LayerNormParam &param) {
    CheckReserved(param.rsv, "LayerNormParam");
    Require(param.layerType == LayerNormParam::LAYER_NORM_NORM,
            "layerType must be LAYER_NORM_NORM on the host runtime");
    const LayerNormParam::NormParam &norm = param.normParam;
    CheckReserved(norm.rsv, "LayerNormParam.normParam");
    Require(norm.quantType == atb::infer::QUANT_UNQUANT || norm.quantType == atb::infer::QUANT_INT8,
            "quantType is neither QUANT_UNQUANT nor QUANT_INT8");
    Require(norm.dynamicQuantType == atb::infer::DYNAMIC_QUANT_UNDEFINED,
            "normParam.dynamicQuantType must stay DYNAMIC_QUANT_UNDEFINED");
    Require(std::abs(norm.epsilon) >= kSmallestEpsilon, "epsilon must not be zero");
    return std::make_unique<LayerNorm>(norm);
}

}  // namespace
}  // namespace atb_host

ATB_HOST_OPERATION(LayerNormParam, "LayerNorm")
