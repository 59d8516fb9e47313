// Attention of new tokens over their own sequence (prefill): SelfAttention with PA_ENCODER. The
// masks are described in `codegen/targets/atb/ops/attention.py`.
#include <limits>

#include "atb/operation.h"
#include "atb/params/attention_params.h"
#include "core/kernel.h"
#include "kernels/attend.h"

namespace atb_host {
namespace {

using atb::infer::SelfAttentionParam;

constexpr int64_t kCompressed = 128;
constexpr int64_t kLargestHead = 576;
/// When keys and values have different head dimensions.
constexpr int64_t kLargestUnequalHead = 1024;
/// What a bfloat16 NORM mask of zeros and ones is multiplied with.
constexpr double kBf16MaskFactor = -3e38;
/// Mask values up to this one hide a key: -10000, the smallest float16, -inf.
constexpr double kHidden = -9999.0;

/// The full mask: the triangle on the diagonal blocks, nothing left of it, -inf right of it.
at::Tensor Expand(const at::Tensor &triangle, int64_t length) {
    const int64_t blocks = (length + kCompressed - 1) / kCompressed;
    at::Tensor full = Filled({blocks, kCompressed, blocks, kCompressed}, 0.0, at::kFloat);
    for (int64_t block = 0; block < blocks; ++block) {
        const at::Tensor row = full.select(0, block);
        row.select(1, block).copy_(triangle);
        row.narrow(1, block + 1, blocks - block - 1)
            .fill_(-std::numeric_limits<double>::infinity());
    }
    return full.reshape({blocks * kCompressed, blocks * kCompressed});
}

class SelfAttention : public Kernel {
public:
    explicit SelfAttention(const SelfAttentionParam &param)
        : param_(param), heads_(HeadsOf(param.headNum, param.kvHeadNum)) {}

    std::vector<Operand> Operands() const override {
        std::vector<Operand> made = {{"q", kHalf}, {"k", kHalf, "q"}, {"v", kHalf, "q"}};
        if (HasMask()) {
            made.push_back({"mask", kHalf, "q"});
        }
        made.push_back({"seq_len", kInt32, "", true});
        return made;
    }

    std::vector<Type> Infer(const Types &types) const override {
        const Type &q = types["q"];
        const Type &v = types["v"];
        if (q.rank() != v.rank() || q.rank() != types["k"].rank() || q.rank() < 2 || q.rank() > 3) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM_NUM,
                 "q, k and v must all be [tokens, heads, D] or all [tokens, heads * D]");
        }
        if (q.rank() == 3) {
            return {{q.dtype, {q.shape[0], q.shape[1], v.shape[2]}}};
        }
        return {{q.dtype, {q.shape[0], heads_.query * (v.shape[1] / heads_.key)}}};
    }

    void Limits(const Types &types, std::vector<std::string> *found) const override {
        CheckHeadSizes(types, found);
        if (types["seq_len"].rank() != 1) {
            found->push_back(Cat("seq_len must be [batch], is ", Str(types["seq_len"])));
        } else if (HasMask()) {
            CheckMask(types["mask"], types["seq_len"].shape[0], found);
        }
    }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &types) const override {
        const at::Tensor q = Split(inputs["q"], heads_.query);
        const at::Tensor k = Split(inputs["k"], heads_.key);
        const at::Tensor v = Split(inputs["v"], heads_.key);
        const at::Tensor &lengths = inputs["seq_len"];
        std::vector<at::Tensor> rows;
        int64_t start = 0;
        for (int64_t row = 0; row < lengths.numel(); ++row) {
            const int64_t length = lengths.data_ptr<int32_t>()[row];
            if (length < 1 || start + length > q.size(0)) {
                FailLengths(q.size(0));
            }
            const at::Tensor bias =
                HasMask() ? Bias(inputs["mask"], types["mask"].dtype, row, length) : at::Tensor();
            rows.push_back(Attend(q.narrow(0, start, length), k.narrow(0, start, length),
                                  v.narrow(0, start, length), param_.qkScale, bias));
            start += length;
        }
        if (start != q.size(0)) {
            FailLengths(q.size(0));
        }
        const at::Tensor y = Joined(rows, 0);
        return {inputs["q"].dim() == 2 ? y.flatten(1) : y};
    }

private:
    bool HasMask() const { return param_.maskType != SelfAttentionParam::MASK_TYPE_UNDEFINED; }
    bool Alibi() const { return param_.maskType == SelfAttentionParam::MASK_TYPE_ALIBI; }

    /// The 128 x 128 triangle that stands for a causal mask of any length.
    bool Compressed(const Shape &mask) const {
        return !Alibi() && param_.isTriuMask != 0 && mask == Shape{kCompressed, kCompressed};
    }

    static at::Tensor Split(const at::Tensor &x, int64_t heads) {
        const at::Tensor wide = Wide(x);
        return x.dim() == 3 ? wide : wide.unflatten(1, {heads, x.size(1) / heads});
    }

    [[noreturn]] static void FailLengths(int64_t tokens) {
        Fail(atb::ERROR_INVALID_PARAM, "seq_len must hold positive lengths that add up to ", tokens,
             " tokens");
    }

    /// What is added to the scores of one sequence: `[length, length]` or with heads.
    at::Tensor Bias(const at::Tensor &mask, aclDataType dtype, int64_t row, int64_t length) const {
        at::Tensor bias = Wide(mask);
        if (!Alibi() && dtype == ACL_BF16) {
            bias = bias * kBf16MaskFactor;
        }
        if (bias.dim() == (Alibi() ? 4 : 3)) {
            bias = bias.select(0, row);
        }
        if (Compressed(mask.sizes().vec())) {
            bias = Expand(bias, length);
        } else if (bias.size(-1) < length || bias.size(-2) < length) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM, "mask ", Str(mask.sizes().vec()),
                 " does not cover a sequence of ", length, " tokens");
        }
        bias = bias.narrow(-1, 0, length).narrow(-2, 0, length);
        if (param_.isTriuMask != 0) {
            const at::Tensor later = Filled({length, length}, 1.0, at::kBool).triu(1);
            if (bias.gt(kHidden).logical_and(later).any().item<bool>()) {
                Fail(atb::ERROR_INVALID_PARAM,
                     "isTriuMask is set, but the mask shows later tokens");
            }
        }
        return bias;
    }

    void CheckHeadSizes(const Types &types, std::vector<std::string> *found) const {
        const Type &q = types["q"];
        int64_t sizes[3] = {0, 0, 0};
        const char *names[3] = {"q", "k", "v"};
        for (int i = 0; i < 3; ++i) {
            const Type &type = types[names[i]];
            const int64_t count = i == 0 ? heads_.query : heads_.key;
            if (type.shape[0] != q.shape[0]) {
                found->push_back("q, k and v have different numbers of tokens");
            }
            const bool fits =
                type.rank() == 3 ? type.shape[1] == count : IsMultiple(type.shape[1], count);
            if (!fits) {
                found->push_back(Cat(names[i], " ", Str(type), " does not have ", count, " heads"));
            }
            sizes[i] = type.rank() == 3 ? type.shape[2] : type.shape[1] / count;
        }
        if (sizes[0] != sizes[1]) {
            found->push_back("q and k have different head dimensions");
        }
        const int64_t limit = sizes[1] == sizes[2] ? kLargestHead : kLargestUnequalHead;
        for (int i = 0; i < 3; ++i) {
            if (sizes[i] > limit) {
                found->push_back(
                    Cat("the head dimension ", sizes[i], " of ", names[i], " exceeds ", limit));
            }
        }
    }

    void CheckMask(const Type &mask, int64_t batch, std::vector<std::string> *found) const {
        const Shape &shape = mask.shape;
        const size_t rank = shape.size();
        if (param_.maskType == SelfAttentionParam::MASK_TYPE_NORM_COMPRESS) {
            if (!Compressed(shape)) {
                found->push_back(Cat("mask ", Str(mask), " must be [128, 128], with isTriuMask, ",
                                     "for MASK_TYPE_NORM_COMPRESS"));
            }
            return;
        }
        const int64_t heads = heads_.query;
        const bool fits = Alibi() ? (rank == 3 && shape[0] == heads) ||
                                        (rank == 4 && shape[0] == batch && shape[1] == heads)
                                  : rank == 2 || (rank == 3 && shape[0] == batch);
        if (!fits) {
            found->push_back(Cat("mask ", Str(mask), " must be ",
                                 Alibi() ? Cat("[", heads, ", S, S] or [batch, ", heads, ", S, S]")
                                         : std::string("[S, S] or [batch, S, S]")));
        }
    }

    SelfAttentionParam param_;
    Heads heads_;
};

std::unique_ptr<Kernel> Make(const SelfAttentionParam &param) {
    CheckReserved(param.rsv, "SelfAttentionParam");
    const SelfAttentionParam unset;
    Require(param.calcType == SelfAttentionParam::PA_ENCODER,
            "calcType must be PA_ENCODER on the host runtime");
    Require(param.kernelType == SelfAttentionParam::KERNELTYPE_DEFAULT ||
                param.kernelType == SelfAttentionParam::KERNELTYPE_HIGH_PRECISION,
            "kernelType must be KERNELTYPE_DEFAULT or KERNELTYPE_HIGH_PRECISION");
    Require(param.isTriuMask <= 1, "isTriuMask must be 0 or 1, is ", param.isTriuMask);
    Require(param.maskType >= SelfAttentionParam::MASK_TYPE_UNDEFINED &&
                param.maskType <= SelfAttentionParam::MASK_TYPE_NORM_COMPRESS,
            "maskType ", static_cast<int>(param.maskType), " is not known to the host runtime");
    Require(param.isTriuMask == 0 || param.maskType != SelfAttentionParam::MASK_TYPE_UNDEFINED,
            "isTriuMask needs a mask");
    Require(param.quantType == unset.quantType && param.outDataType == unset.outDataType &&
                param.qScale == unset.qScale && !param.batchRunStatusEnable &&
                param.clampType == unset.clampType && param.clampMin == unset.clampMin &&
                param.clampMax == unset.clampMax && param.kvcacheCfg == unset.kvcacheCfg &&
                param.scaleType == unset.scaleType && param.inputLayout == unset.inputLayout &&
                param.mlaVHeadSize == unset.mlaVHeadSize && param.cacheType == unset.cacheType &&
                param.windowSize == unset.windowSize,
            "only headNum, kvHeadNum, qkScale, isTriuMask, calcType, kernelType and maskType are ",
            "known to the host runtime; another field is set");
    return std::make_unique<SelfAttention>(param);
}

}  // namespace
}  // namespace atb_host

ATB_HOST_OPERATION(SelfAttentionParam, "SelfAttention")
