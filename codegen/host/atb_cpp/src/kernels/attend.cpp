#include "kernels/attend.h"

namespace atb_host {

Heads HeadsOf(int32_t head_num, int32_t kv_head_num) {
    Require(head_num > 0 && kv_head_num >= 0, "headNum ", head_num,
            " must be positive and kvHeadNum ", kv_head_num, " not negative");
    const Heads heads = {head_num, kv_head_num == 0 ? head_num : kv_head_num};
    Require(heads.query % heads.key == 0, "headNum ", heads.query,
            " is not a multiple of kvHeadNum ", heads.key);
    return heads;
}

at::Tensor Attend(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, double scale,
                  const at::Tensor &bias) {
    const int64_t groups = q.size(1) / k.size(1);
    at::Tensor scores = Einsum("qhd,khd->hqk", q, k.repeat_interleave(groups, 1)) * scale;
    if (bias.defined()) {
        scores = scores + bias;
    }
    return Einsum("hqk,khd->qhd", scores.softmax(-1), v.repeat_interleave(groups, 1));
}

}  // namespace atb_host
