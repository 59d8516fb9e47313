// Scaled dot-product attention of one sequence, shared by prefill and decode.
#pragma once

#include <string>
#include <vector>

#include "core/kernel.h"

namespace atb_host {

/// Query heads and key-value heads; `kvHeadNum` 0 means as many.
struct Heads {
    int64_t query = 0;
    int64_t key = 0;
};

/// Fails unless the counts are positive and the query heads a multiple of the others.
Heads HeadsOf(int32_t head_num, int32_t kv_head_num);

/// `softmax(q · kᵀ * scale + bias) · v` in float32: `q` `[queries, heads, D]`, `k` and `v`
/// `[keys, kv_heads, ...]`; `bias` broadcasts with `[heads, queries, keys]`, undefined for none.
at::Tensor Attend(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, double scale,
                  const at::Tensor &bias);

}  // namespace atb_host
