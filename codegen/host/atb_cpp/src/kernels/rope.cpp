// Rotary position embedding of queries and keys.
#include "atb/operation.h"
#include "atb/params/attention_params.h"
#include "core/kernel.h"

namespace atb_host {
namespace {

using atb::infer::RopeParam;

constexpr int64_t kSmallestHead = 16;
constexpr int64_t kLargestHead = 4096;

int64_t TokensOf(const Type &type) {
    return type.rank() == 2 ? type.shape[0] : type.shape[0] * type.shape[1];
}

int64_t HiddenOf(const Type &type) {
    return type.rank() == 2 ? type.shape[1] : type.shape[2] * type.shape[3];
}

void CheckRanks(const Types &types) {
    for (const char *name : {"q", "k"}) {
        if (types[name].rank() != 2 && types[name].rank() != 4) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM_NUM, name, " ", Str(types[name]),
                 " must have rank 2 or 4");
        }
    }
    for (const char *name : {"cos", "sin"}) {
        if (types[name].rank() != 2) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM_NUM, name, " ", Str(types[name]),
                 " must have rank 2");
        }
    }
    if (types["seq_len"].rank() != 1) {
        Fail(atb::ERROR_INVALID_TENSOR_DIM_NUM, "seq_len ", Str(types["seq_len"]),
             " must have rank 1");
    }
}

/// `y = x * cos + partner(x) * sin` in each head.
at::Tensor Rotate(const at::Tensor &x, const at::Tensor &cos, const at::Tensor &sin,
                  int64_t coefficient) {
    const int64_t tokens = cos.size(0);
    const int64_t head = cos.size(1);
    const at::Tensor heads = x.reshape({tokens, -1, head});
    at::Tensor partner;
    if (coefficient == 2 || coefficient == 4) {
        // Each of the parts by itself: its second half, negated, stands before its first half.
        const at::Tensor parts = heads.unflatten(-1, {coefficient / 2, 2, head / coefficient});
        partner = Stacked({parts.select(-2, 1).neg(), parts.select(-2, 0)}, -2).flatten(-3);
    } else {
        const at::Tensor pairs = heads.unflatten(-1, {head / 2, 2});
        partner = Stacked({pairs.select(-1, 1).neg(), pairs.select(-1, 0)}, -1).flatten(-2);
    }
    return (heads * cos.unsqueeze(1) + partner * sin.unsqueeze(1)).reshape(x.sizes());
}

class Rope : public Kernel {
public:
    explicit Rope(const RopeParam &param) : param_(param) {}

    std::vector<Operand> Operands() const override {
        return {{"q", kHalf},
                {"k", kHalf, "q"},
                {"cos", kFloat},
                {"sin", kFloat, "cos"},
                {"seq_len", kInt32}};
    }

    uint32_t ResultCount() const override { return 2; }

    std::vector<Type> Infer(const Types &types) const override {
        CheckRanks(types);
        return {types["q"], types["k"]};
    }

    void Limits(const Types &types, std::vector<std::string> *found) const override {
        const Type &cos = types["cos"];
        const int64_t head = cos.shape[1];
        const int64_t q = HiddenOf(types["q"]);
        const int64_t k = HiddenOf(types["k"]);
        const int64_t coefficient = param_.rotaryCoeff;
        if (types["sin"].shape != cos.shape) {
            found->push_back(Cat("sin ", Str(types["sin"]), " does not have the shape of cos"));
        }
        if (TokensOf(types["q"]) != TokensOf(types["k"]) || TokensOf(types["q"]) != cos.shape[0]) {
            found->push_back("q, k and cos have different numbers of tokens");
        }
        if (head < kSmallestHead || head > kLargestHead) {
            found->push_back(
                Cat("head dimension ", head, " is not in ", kSmallestHead, "..", kLargestHead));
            return;
        }
        if (k == 0 || q % k != 0) {
            found->push_back(
                Cat("the ", q, " features of q are not a multiple of the ", k, " of k"));
        }
        if (k % head != 0) {
            found->push_back(
                Cat("the ", k, " features of k are not a multiple of head dimension ", head));
        }
        const bool known = coefficient == 2 || coefficient == 4 || coefficient == head;
        if (!known || head % coefficient != 0) {
            found->push_back(
                Cat("rotaryCoeff ", coefficient, " is not 2, 4 or the head dimension ", head));
        }
    }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &) const override {
        const at::Tensor cos = Wide(inputs["cos"]);
        const at::Tensor sin = Wide(inputs["sin"]);
        return {Rotate(Wide(inputs["q"]), cos, sin, param_.rotaryCoeff),
                Rotate(Wide(inputs["k"]), cos, sin, param_.rotaryCoeff)};
    }

private:
    RopeParam param_;
};

std::unique_ptr<Kernel> Make(const RopeParam &param) {
    CheckReserved(param.rsv, "RopeParam");
    Require(param.cosFormat == 0, "cosFormat must be 0, is ", param.cosFormat);
    return std::make_unique<Rope>(param);
}

}  // namespace
}  // namespace atb_host

ATB_HOST_OPERATION(RopeParam, "Rope")
