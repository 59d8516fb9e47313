// Rounding to int8, shared by normalizations and Elewise.
#pragma once

#include "core/kernel.h"

namespace atb_host {

/// `clip(round(y / scale) + offset)`; an empty offset is none.
inline at::Tensor Quantize(const at::Tensor &y, const at::Tensor &scale, const at::Tensor *offset) {
    at::Tensor q = (Wide(y) / Wide(scale)).round();
    if (offset != nullptr && offset->numel() != 0) {
        q = q + Wide(*offset);
    }
    return q.clamp(-128, 127).to(at::kChar);
}

}  // namespace atb_host
