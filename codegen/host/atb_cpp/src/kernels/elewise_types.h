// The types of Elewise: which operands they take, and the plain functions among them.
#pragma once

#include "atb/params/elewise_params.h"
#include "core/kernel.h"

namespace atb_host {

struct ElewiseKind {
    /// Element types of `x`, and of `y` for the arithmetic types.
    DTypes dtypes;
    /// Takes `y` of the same type.
    bool binary = false;
    /// Takes `y`, the scale, and `offset`.
    bool per_channel = false;
    /// The (first) result is int8.
    bool to_int8 = false;
};

/// Fails for a type that the dialect does not have.
ElewiseKind ElewiseKindOf(atb::infer::ElewiseParam::ElewiseType type);

/// Operands are float32 or integers.
at::Tensor ApplyUnary(atb::infer::ElewiseParam::ElewiseType type, const at::Tensor &x);
at::Tensor ApplyBinary(atb::infer::ElewiseParam::ElewiseType type, const at::Tensor &x,
                       const at::Tensor &y);

}  // namespace atb_host
