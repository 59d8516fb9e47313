// Writing keys and values into caches, in place.
#include "atb/operation.h"
#include "atb/params/cache_params.h"
#include "core/kernel.h"

namespace atb_host {
namespace {

using atb::infer::ReshapeAndCacheParam;

const DTypes kCached = {ACL_FLOAT16, ACL_BF16, ACL_INT8};

void CheckRanks(const Types &types, std::initializer_list<std::pair<const char *, size_t>> ranks) {
    for (const auto &[name, rank] : ranks) {
        if (types[name].rank() != rank) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM_NUM, name, " ", Str(types[name]), " must have rank ",
                 rank);
        }
    }
}

/// Slot `s` is row `s % block_size` of block `s / block_size`.
class ReshapeAndCache : public Kernel {
public:
    std::vector<Operand> Operands() const override {
        return {{"k", kCached},
                {"v", kCached, "k"},
                {"k_cache", kCached, "k"},
                {"v_cache", kCached, "k"},
                {"slots", kInt32}};
    }

    uint32_t ResultCount() const override { return 2; }
    std::vector<int> InPlace() const override { return {2, 3}; }

    std::vector<Type> Infer(const Types &types) const override {
        CheckRanks(types, {{"k", 3}, {"v", 3}, {"k_cache", 4}, {"v_cache", 4}, {"slots", 1}});
        return {types["k_cache"], types["v_cache"]};
    }

    void Limits(const Types &types, std::vector<std::string> *found) const override {
        const int64_t tokens = types["slots"].shape[0];
        if (types["k"].shape[0] != tokens || types["v"].shape[0] != tokens) {
            found->push_back("k, v and slots have different numbers of tokens");
        }
        const Shape &k = types["k_cache"].shape;
        const Shape &v = types["v_cache"].shape;
        if (Shape(k.begin(), k.end() - 1) != Shape(v.begin(), v.end() - 1)) {
            found->push_back("k_cache and v_cache differ in blocks, block size or heads");
        }
        for (const auto &[name, cache] : {std::pair("k", "k_cache"), std::pair("v", "v_cache")}) {
            const Shape &row = types[name].shape;
            const Shape &rows = types[cache].shape;
            if (!std::equal(row.begin() + 1, row.end(), rows.begin() + 2)) {
                found->push_back(Cat(name, " ", Str(types[name]), " does not fit ", cache, " ",
                                     Str(types[cache])));
            }
        }
    }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &) const override {
        const at::Tensor slots = inputs["slots"].to(at::kLong);
        std::vector<at::Tensor> caches;
        for (const auto &[name, cache] : {std::pair("k", "k_cache"), std::pair("v", "v_cache")}) {
            at::Tensor rows = inputs[cache].flatten(0, 1);
            CheckSlots(slots, rows.size(0));
            rows.index_copy_(0, slots, inputs[name]);
            caches.push_back(inputs[cache]);
        }
        return caches;
    }

private:
    static void CheckSlots(const at::Tensor &slots, int64_t rows) {
        std::vector<bool> taken(static_cast<size_t>(rows), false);
        const int64_t *values = slots.data_ptr<int64_t>();
        for (int64_t i = 0; i < slots.numel(); ++i) {
            if (values[i] < 0 || values[i] >= rows) {
                Fail(atb::ERROR_INVALID_PARAM, "slots[", i, "] is ", values[i], ", not in 0..",
                     rows - 1);
            }
            if (taken[static_cast<size_t>(values[i])]) {
                Fail(atb::ERROR_INVALID_PARAM, "two tokens share a cache slot: ", values[i]);
            }
            taken[static_cast<size_t>(values[i])] = true;
        }
    }
};

/// Cache `[layers, batch, max_tokens, hidden]`: sequence `b` ends at `token_offset[b]`, its
/// `seq_len[b]` last tokens are new.
class KvCache : public Kernel {
public:
    std::vector<Operand> Operands() const override {
        const DTypes dtypes = {ACL_FLOAT16, ACL_INT8};
        return {{"new_kv", dtypes},
                {"layer_id", kInt32},
                {"past", dtypes, "new_kv"},
                {"token_offset", kInt32, "", true},
                {"seq_len", kInt32, "", true}};
    }

    uint32_t ResultCount() const override { return 0; }
    std::vector<int> Written() const override { return {2}; }

    std::vector<Type> Infer(const Types &types) const override {
        CheckRanks(types, {{"new_kv", 2}, {"past", 4}, {"token_offset", 1}, {"seq_len", 1}});
        return {};
    }

    void Limits(const Types &types, std::vector<std::string> *found) const override {
        const Shape &past = types["past"].shape;
        if (types["new_kv"].shape[1] != past[3]) {
            found->push_back(
                Cat("new_kv ", Str(types["new_kv"]), " does not fit past ", Str(types["past"])));
        }
        if (types["layer_id"].shape != Shape{1}) {
            found->push_back(Cat("layer_id must be [1], is ", Str(types["layer_id"])));
        }
        for (const char *name : {"token_offset", "seq_len"}) {
            if (types[name].shape[0] != past[1]) {
                found->push_back(
                    Cat(name, " does not have one entry for each of ", past[1], " sequences"));
            }
        }
    }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &) const override {
        const at::Tensor &past = inputs["past"];
        const at::Tensor &fresh = inputs["new_kv"];
        const int64_t layer = inputs["layer_id"].data_ptr<int32_t>()[0];
        Require(layer >= 0 && layer < past.size(0), "layer_id ", layer, " is not in 0..",
                past.size(0) - 1);
        int64_t read = 0;
        for (int64_t row = 0; row < past.size(1); ++row) {
            const int64_t end = inputs["token_offset"].data_ptr<int32_t>()[row];
            const int64_t count = inputs["seq_len"].data_ptr<int32_t>()[row];
            Require(count >= 0 && end >= count && end <= past.size(2), "token_offset ", end,
                    " and seq_len ", count, " do not fit a cache of ", past.size(2), " tokens");
            Require(read + count <= fresh.size(0), "seq_len adds up to more than ", fresh.size(0),
                    " tokens");
            past.select(0, layer)
                .select(0, row)
                .narrow(0, end - count, count)
                .copy_(fresh.narrow(0, read, count));
            read += count;
        }
        Require(read == fresh.size(0), "seq_len does not add up to ", fresh.size(0), " tokens");
        return {};
    }
};

std::unique_ptr<Kernel> Make(const ReshapeAndCacheParam &param) {
    CheckReserved(param.rsv, "ReshapeAndCacheParam");
    Require(param.compressType == ReshapeAndCacheParam::COMPRESS_TYPE_UNDEFINED,
            "compressType must stay COMPRESS_TYPE_UNDEFINED on the host runtime");
    Require(param.kvCacheCfg == ReshapeAndCacheParam::K_CACHE_V_CACHE,
            "kvCacheCfg must stay K_CACHE_V_CACHE on the host runtime");
    return std::make_unique<ReshapeAndCache>();
}

std::unique_ptr<Kernel> Make(const atb::infer::KvCacheParam &param) {
    CheckReserved(param.rsv, "KvCacheParam");
    return std::make_unique<KvCache>();
}

std::unique_ptr<Kernel> Make(const atb::infer::ReshapeAndCacheOmniParam &) {
    Fail(atb::ERROR_INVALID_PARAM, "the host runtime cannot execute it yet");
}

}  // namespace
}  // namespace atb_host

ATB_HOST_OPERATION(ReshapeAndCacheParam, "ReshapeAndCache")
ATB_HOST_OPERATION(KvCacheParam, "KvCache")
ATB_HOST_OPERATION(ReshapeAndCacheOmniParam, "ReshapeAndCacheOmni")
