// Matrix products: floating point, accumulating, and of int8 tensors scaled back.
#include "atb/operation.h"
#include "atb/params/linear_params.h"
#include "core/kernel.h"

namespace atb_host {
namespace {

using atb::infer::LinearParam;

/// Dequantization scales as float32; int64 ones hold the bits of a float32.
at::Tensor ScaleValues(const at::Tensor &scale) {
    if (scale.scalar_type() == at::kLong) {
        return scale.to(at::kInt).view(at::kFloat);
    }
    return Wide(scale);
}

class Linear : public Kernel {
public:
    explicit Linear(const LinearParam &param) : param_(param) {}

    std::vector<Operand> Operands() const override {
        const DTypes dtypes = Quantized() ? kInt8 : Plain() ? kFloat : kHalf;
        std::vector<Operand> made = {{"x", dtypes}, {"weight", dtypes, "x"}};
        if (param_.hasBias) {
            made.push_back({"bias", Quantized() ? kInt32 : kFloat});
        }
        if (param_.enAccum) {
            made.push_back({"accum", kFloat32});
        }
        if (Quantized()) {
            const bool bits = param_.outDataType == ACL_FLOAT16 && !PerToken();
            made.push_back({"deq_scale", bits ? kInt64 : kFloat32});
        }
        if (PerToken()) {
            made.push_back({"per_token_scale", kFloat32});
        }
        return made;
    }

    std::vector<Type> Infer(const Types &types) const override {
        const Type &x = types["x"];
        const Type &weight = types["weight"];
        const size_t rank = x.rank();
        if (rank < 2 || rank > 3 || weight.rank() < 2 || weight.rank() > rank) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM_NUM, "x ", Str(x), " and weight ", Str(weight),
                 " are not matrices or batches of them");
        }
        if (weight.rank() == 3 && weight.shape[0] != x.shape[0]) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM, "x ", Str(x), " and weight ", Str(weight),
                 " have different batches");
        }
        const int64_t m = x.shape[rank - (param_.transposeA ? 1 : 2)];
        const int64_t k = x.shape[rank - (param_.transposeA ? 2 : 1)];
        const int64_t inner = weight.shape[weight.rank() - (param_.transposeB ? 1 : 2)];
        if (k != inner) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM, "x is ", Str(x), ", the weight ", Str(weight),
                 " wants ", inner, " features");
        }
        Type y = x;
        y.shape[rank - 2] = m;
        y.shape[rank - 1] = Features(weight);
        y.dtype = param_.enAccum ? ACL_FLOAT : Quantized() ? param_.outDataType : x.dtype;
        return {y};
    }

    void Limits(const Types &types, std::vector<std::string> *found) const override {
        const Type &weight = types["weight"];
        const Shape vector = {Features(weight)};
        const Shape row = {weight.rank() == 3 ? weight.shape[0] : 1, Features(weight)};
        for (const char *name : {"bias", "deq_scale"}) {
            if (types.Has(name) && types[name].shape != vector && types[name].shape != row) {
                found->push_back(Cat(name, " ", Str(types[name]), " is not ", Str(vector)));
            }
        }
        if (param_.enAccum && types["accum"].shape != Infer(types)[0].shape) {
            found->push_back(
                Cat("accum ", Str(types["accum"]), " does not have the shape of the result"));
        }
        if (PerToken() && types["per_token_scale"].shape != Shape{types["x"].shape[0]}) {
            found->push_back(Cat("per_token_scale ", Str(types["per_token_scale"]),
                                 " does not have one entry for each token"));
        }
    }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &) const override {
        // int8 products are exact in float64: 2^53 is far above any k * 127 * 128.
        const at::ScalarType exact = Quantized() ? at::kDouble : at::kFloat;
        at::Tensor left = inputs["x"].to(exact);
        at::Tensor right = inputs["weight"].to(exact);
        left = param_.transposeA ? left.transpose(-1, -2) : left;
        right = param_.transposeB ? right.transpose(-1, -2) : right;
        at::Tensor y = left.matmul(right);
        if (param_.hasBias) {
            const at::Tensor bias = inputs["bias"].to(exact);
            y = y + (inputs["weight"].dim() == 3 && bias.dim() == 2 ? bias.unsqueeze(-2) : bias);
        }
        if (Quantized()) {
            y = Wide(y) * ScaleValues(inputs["deq_scale"]);
        }
        if (PerToken()) {
            y = y * inputs["per_token_scale"].unsqueeze(-1);
        }
        return {param_.enAccum ? y + inputs["accum"] : y};
    }

private:
    bool Quantized() const { return param_.outDataType != ACL_DT_UNDEFINED; }
    bool PerToken() const { return param_.quantMode == LinearParam::PER_TOKEN; }
    bool Plain() const { return !param_.hasBias && !param_.enAccum; }
    int64_t Features(const Type &weight) const {
        return weight.shape[weight.rank() - (param_.transposeB ? 2 : 1)];
    }

    LinearParam param_;
};

std::unique_ptr<Kernel> Make(const LinearParam &param) {
    CheckReserved(param.rsv, "LinearParam");
    const bool quantized = param.outDataType != ACL_DT_UNDEFINED;
    Require(!quantized || IsHalf(param.outDataType), "outDataType ", Str(param.outDataType),
            " is not undefined, float16 or bfloat16");
    Require(param.matmulType == LinearParam::MATMUL_UNDEFINED,
            "matmulType must stay MATMUL_UNDEFINED on the host runtime");
    Require(param.quantMode <= LinearParam::PER_TOKEN, "quantMode is unknown");
    Require(param.quantMode != LinearParam::PER_TOKEN || (quantized && !param.hasBias),
            "quantMode PER_TOKEN needs outDataType and excludes hasBias");
    Require(!param.enAccum || !param.hasBias, "enAccum and hasBias exclude each other");
    Require(!param.enAccum || !quantized, "enAccum and outDataType exclude each other");
    return std::make_unique<Linear>(param);
}

std::unique_ptr<Kernel> Make(const atb::infer::LinearSparseParam &) {
    Fail(atb::ERROR_INVALID_PARAM,
         "the host runtime cannot execute it: the compressed weight format is not public");
}

}  // namespace
}  // namespace atb_host

ATB_HOST_OPERATION(LinearParam, "Linear")
ATB_HOST_OPERATION(LinearSparseParam, "LinearSparse")
