// One new token of each sequence attends over the paged cache (decode). The masks are described in
// `codegen/targets/atb/ops/paged.py`.
#include "atb/operation.h"
#include "atb/params/attention_params.h"
#include "core/kernel.h"
#include "kernels/attend.h"

namespace atb_host {
namespace {

using atb::infer::PagedAttentionParam;

constexpr int64_t kLargestHead = 576;
/// Above this head dimension a block may hold at most `kLargestBlock` tokens.
constexpr int64_t kWideHead = 256;
constexpr int64_t kLargestBlock = 128;

class PagedAttention : public Kernel {
public:
    explicit PagedAttention(const PagedAttentionParam &param)
        : param_(param), heads_(HeadsOf(param.headNum, param.kvHeadNum)) {}

    std::vector<Operand> Operands() const override {
        std::vector<Operand> made = {{"q", kHalf},
                                     {"k_cache", kHalf, "q"},
                                     {"v_cache", kHalf, "q"},
                                     {"block_tables", kInt32},
                                     {"context_lens", kInt32, "", true}};
        if (HasMask()) {
            made.push_back({"mask", kHalf, "q"});
        }
        return made;
    }

    std::vector<Type> Infer(const Types &types) const override {
        const std::pair<const char *, size_t> ranks[] = {
            {"q", 3}, {"k_cache", 4}, {"v_cache", 4}, {"block_tables", 2}, {"context_lens", 1}};
        for (const auto &[name, rank] : ranks) {
            if (types[name].rank() != rank) {
                Fail(atb::ERROR_INVALID_TENSOR_DIM_NUM, name, " ", Str(types[name]),
                     " must have rank ", rank);
            }
        }
        Type y = types["q"];
        y.shape[2] = types["v_cache"].shape[3];
        return {y};
    }

    void Limits(const Types &types, std::vector<std::string> *found) const override {
        const Shape &q = types["q"].shape;
        const Shape &k = types["k_cache"].shape;
        const Shape &v = types["v_cache"].shape;
        if (q[0] != types["block_tables"].shape[0] || q[0] != types["context_lens"].shape[0]) {
            found->push_back("q, block_tables and context_lens have different batches");
        }
        if (q[1] != heads_.query || k[2] != heads_.key) {
            found->push_back(Cat("q ", Str(q), " or k_cache ", Str(k), " do not have ",
                                 heads_.query, " and ", heads_.key, " heads"));
        }
        if (q[2] != k[3]) {
            found->push_back("q and k_cache have different head dimensions");
        }
        if (Shape(k.begin(), k.end() - 1) != Shape(v.begin(), v.end() - 1)) {
            found->push_back("k_cache and v_cache differ in blocks, block size or heads");
        }
        const int64_t widest = std::max(k[3], v[3]);
        if (widest > kLargestHead) {
            found->push_back(Cat("head dimension ", widest, " exceeds ", kLargestHead));
        } else if (widest > kWideHead && k[1] > kLargestBlock) {
            found->push_back(Cat("with head dimension ", widest, " blocks hold at most ",
                                 kLargestBlock, " tokens"));
        }
        if (HasMask()) {
            CheckMask(types["mask"], q[0], found);
        }
    }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &) const override {
        const at::Tensor q = Wide(inputs["q"]);
        const at::Tensor &tables = inputs["block_tables"];
        const at::Tensor &lengths = inputs["context_lens"];
        std::vector<at::Tensor> rows;
        for (int64_t row = 0; row < q.size(0); ++row) {
            const int64_t length = lengths.data_ptr<int32_t>()[row];
            const at::Tensor used = UsedBlocks(inputs["k_cache"], tables, row, length);
            const at::Tensor k = Cached(inputs["k_cache"], used, length);
            const at::Tensor v = Cached(inputs["v_cache"], used, length);
            const at::Tensor bias = HasMask() ? Bias(inputs["mask"], row, length) : at::Tensor();
            rows.push_back(Attend(q.narrow(0, row, 1), k, v, param_.qkScale, bias));
        }
        return {Joined(rows, 0)};
    }

private:
    bool HasMask() const { return param_.maskType != PagedAttentionParam::UNDEFINED; }

    static at::Tensor UsedBlocks(const at::Tensor &cache, const at::Tensor &tables, int64_t row,
                                 int64_t length) {
        const int64_t size = cache.size(1);
        if (length < 1 || length > tables.size(1) * size) {
            Fail(atb::ERROR_INVALID_PARAM, "context_lens[", row, "] is ", length,
                 ", block_tables hold ", tables.size(1), " blocks of ", size);
        }
        const at::Tensor used =
            tables.select(0, row).narrow(0, 0, (length + size - 1) / size).to(at::kLong);
        if (used.min().item<int64_t>() < 0 || used.max().item<int64_t>() >= cache.size(0)) {
            Fail(atb::ERROR_INVALID_PARAM, "block_tables[", row, "] are not in 0..",
                 cache.size(0) - 1);
        }
        return used;
    }

    static at::Tensor Cached(const at::Tensor &cache, const at::Tensor &used, int64_t length) {
        return Wide(cache.index_select(0, used).flatten(0, 1).narrow(0, 0, length));
    }

    /// What is added to the scores of one sequence, `[1 or heads, 1, length]`.
    at::Tensor Bias(const at::Tensor &mask, int64_t row, int64_t length) const {
        if (mask.size(-1) < length) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM, "mask ", Str(mask.sizes().vec()),
                 " does not cover ", length, " cached tokens");
        }
        const bool shared =
            param_.maskType == PagedAttentionParam::MASK_TYPE_ALIBI && mask.dim() == 3;
        const at::Tensor chosen = shared ? mask : mask.select(0, row);
        return Wide(chosen.narrow(-2, 0, 1).narrow(-1, 0, length));
    }

    void CheckMask(const Type &mask, int64_t batch, std::vector<std::string> *found) const {
        const Shape &shape = mask.shape;
        const int64_t heads = heads_.query;
        const auto begins = [&](const Shape &start) {
            return shape.size() == start.size() + 1 &&
                   std::equal(start.begin(), start.end(), shape.begin());
        };
        if (param_.maskType == PagedAttentionParam::MASK_TYPE_NORM) {
            if (!begins({batch, 1})) {
                found->push_back(Cat("mask ", Str(mask), " must be [batch, 1, S]"));
            }
        } else if (!begins({heads, 1}) && !begins({batch, heads, 1})) {
            found->push_back(Cat("mask ", Str(mask), " must be [batch, ", heads, ", 1, S] or [",
                                 heads, ", 1, S]"));
        }
    }

    PagedAttentionParam param_;
    Heads heads_;
};

std::unique_ptr<Kernel> Make(const PagedAttentionParam &param) {
    CheckReserved(param.rsv, "PagedAttentionParam");
    const PagedAttentionParam unset;
    Require(param.maskType >= PagedAttentionParam::UNDEFINED &&
                param.maskType <= PagedAttentionParam::MASK_TYPE_ALIBI,
            "maskType ", static_cast<int>(param.maskType), " is not known to the host runtime");
    Require(!param.batchRunStatusEnable && param.quantType == unset.quantType &&
                param.outDataType == unset.outDataType && !param.hasQuantOffset &&
                param.compressType == unset.compressType && param.calcType == unset.calcType &&
                param.scaleType == unset.scaleType && param.inputLayout == unset.inputLayout &&
                param.mlaVHeadSize == unset.mlaVHeadSize && param.qScale == unset.qScale,
            "only headNum, kvHeadNum, qkScale and maskType are known to the host runtime; another ",
            "field is set");
    return std::make_unique<PagedAttention>(param);
}

}  // namespace
}  // namespace atb_host

ATB_HOST_OPERATION(PagedAttentionParam, "PagedAttention")
