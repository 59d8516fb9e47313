// Element-wise arithmetic, casts and quantization.
#include "atb/operation.h"
#include "atb/params/elewise_params.h"
#include "core/kernel.h"
#include "core/tensors.h"
#include "kernels/elewise_types.h"
#include "kernels/quantize.h"

namespace atb_host {
namespace {

using atb::infer::ElewiseParam;

Type Broadcast(const Type &x, const Type &y) {
    Type made = x.rank() >= y.rank() ? x : y;
    const Type &shorter = x.rank() >= y.rank() ? y : x;
    const size_t skip = made.rank() - shorter.rank();
    for (size_t i = 0; i < shorter.rank(); ++i) {
        int64_t &size = made.shape[skip + i];
        if (size != shorter.shape[i] && size != 1 && shorter.shape[i] != 1) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM, "x ", Str(x), " and y ", Str(y),
                 " do not broadcast");
        }
        size = size == 1 ? shorter.shape[i] : size;
    }
    made.dtype = x.dtype;
    return made;
}

class Elewise : public Kernel {
public:
    explicit Elewise(const ElewiseParam &param)
        : param_(param), kind_(ElewiseKindOf(param.elewiseType)) {}

    std::vector<Operand> Operands() const override {
        std::vector<Operand> made = {{"x", kind_.dtypes}};
        if (kind_.binary) {
            made.push_back({"y", kind_.dtypes, "x"});
        }
        if (kind_.per_channel) {
            made.push_back({"y", Dequantizes() ? kFloat16 : kind_.dtypes});
            made.push_back({"offset", kInt8});
        }
        return made;
    }

    uint32_t ResultCount() const override { return Dynamic() ? 2 : 1; }
    bool MayOverwrite() const override { return true; }

    std::vector<Type> Infer(const Types &types) const override {
        Type x = types["x"];
        if (kind_.binary) {
            x = Broadcast(x, types["y"]);
        }
        if (param_.elewiseType == ElewiseParam::ELEWISE_CAST) {
            return {{param_.outTensorType, x.shape}};
        }
        if (Dequantizes()) {
            return {{types["y"].dtype, x.shape}};
        }
        if (!kind_.to_int8) {
            return {x};
        }
        if (!Dynamic()) {
            return {{ACL_INT8, x.shape}};
        }
        if (x.rank() < 2) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM_NUM, "x ", Str(x),
                 " must have at least 2 dimensions");
        }
        return {{ACL_INT8, x.shape}, {ACL_FLOAT, Shape(x.shape.begin(), x.shape.end() - 1)}};
    }

    void Limits(const Types &types, std::vector<std::string> *found) const override {
        const Type &x = types["x"];
        const bool aligned = param_.elewiseType == ElewiseParam::ELEWISE_QUANT ||
                             param_.elewiseType == ElewiseParam::ELEWISE_QUANT_PER_CHANNEL;
        if (aligned && (x.rank() == 0 || !IsMultiple(x.shape.back(), 32))) {
            found->push_back(Cat("the last dimension of x ", Str(x), " is not a multiple of 32"));
        }
        if (!kind_.per_channel) {
            return;
        }
        const Type &offset = types["offset"];
        if (offset.shape != Shape{0} && offset.shape != types["y"].shape) {
            found->push_back(Cat("offset ", Str(offset), " does not have the shape of y"));
        }
        if (Broadcast(x, types["y"]).shape != x.shape) {
            found->push_back(Cat("y ", Str(types["y"]), " does not broadcast to x ", Str(x)));
        }
    }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &) const override {
        const at::Tensor x = Keep(inputs["x"]);
        switch (param_.elewiseType) {
            case ElewiseParam::ELEWISE_CAST:
                return {IsFloat(param_.outTensorType) ? x.to(at::kFloat)
                                                      : x.to(ScalarOf(param_.outTensorType))};
            case ElewiseParam::ELEWISE_MULS:
                return {x * static_cast<double>(param_.mulsParam.varAttr)};
            case ElewiseParam::ELEWISE_QUANT:
                // The kernel multiplies: callers pass the reciprocal of the scale.
                return {(x * static_cast<double>(param_.quantParam.inputScale) +
                         param_.quantParam.inputOffset)
                            .round()
                            .clamp(-128, 127)
                            .to(at::kChar)};
            case ElewiseParam::ELEWISE_DYNAMIC_QUANT: {
                const at::Tensor scale = x.abs().amax(-1) / 127.0;
                return {Quantize(x, scale.unsqueeze(-1).clamp_min(1e-30), nullptr), scale};
            }
            case ElewiseParam::ELEWISE_QUANT_PER_CHANNEL:
                return {Quantize(x, inputs["y"], &inputs["offset"])};
            case ElewiseParam::ELEWISE_DEQUANT_PER_CHANNEL: {
                const at::Tensor &offset = inputs["offset"];
                const at::Tensor shifted = offset.numel() == 0 ? Wide(x) : Wide(x) - Wide(offset);
                return {shifted * Wide(inputs["y"])};
            }
            default: break;
        }
        const at::Tensor made = kind_.binary ? ApplyBinary(param_.elewiseType, x, Keep(inputs["y"]))
                                             : ApplyUnary(param_.elewiseType, x);
        return {made.scalar_type() == at::kBool ? made.to(at::kChar) : made};
    }

private:
    bool Dynamic() const { return param_.elewiseType == ElewiseParam::ELEWISE_DYNAMIC_QUANT; }
    bool Dequantizes() const {
        return param_.elewiseType == ElewiseParam::ELEWISE_DEQUANT_PER_CHANNEL;
    }

    ElewiseParam param_;
    ElewiseKind kind_;
};

std::unique_ptr<Kernel> Make(const ElewiseParam &param) {
    CheckReserved(param.rsv, "ElewiseParam");
    CheckReserved(param.quantParam.rsv, "ElewiseParam.quantParam");
    CheckReserved(param.mulsParam.rsv, "ElewiseParam.mulsParam");
    Require(!param.quantParam.asymmetric, "quantParam.asymmetric is not known to the host runtime");
    const bool casts = param.elewiseType == ElewiseParam::ELEWISE_CAST;
    const bool castable = IsFloat(param.outTensorType) || param.outTensorType == ACL_INT32 ||
                          param.outTensorType == ACL_INT64;
    Require(!casts || castable, "ELEWISE_CAST needs outTensorType to be a floating point type, ",
            "int32 or int64, is ", Str(param.outTensorType));
    return std::make_unique<Elewise>(param);
}

}  // namespace
}  // namespace atb_host

ATB_HOST_OPERATION(ElewiseParam, "Elewise")
