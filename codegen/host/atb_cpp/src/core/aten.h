// What the kernels use of ATen beside the methods of a tensor. ATen's own headers for these take
// five seconds to parse, so only `aten.cpp` includes them.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/types.h"

namespace atb_host {

/// A view of memory that must outlive it.
at::Tensor FromBlob(void *data, const Shape &shape, at::ScalarType dtype);
at::Tensor Filled(const Shape &shape, double value, at::ScalarType dtype);
at::Tensor Joined(const std::vector<at::Tensor> &tensors, int64_t axis);
at::Tensor Stacked(const std::vector<at::Tensor> &tensors, int64_t axis);
at::Tensor Einsum(const std::string &equation, const at::Tensor &left, const at::Tensor &right);
at::Tensor Gelu(const at::Tensor &x, bool exact);
at::Tensor Silu(const at::Tensor &x);

inline at::Tensor operator+(const at::Tensor &x, const at::Tensor &y) { return x.add(y); }
inline at::Tensor operator-(const at::Tensor &x, const at::Tensor &y) { return x.sub(y); }
inline at::Tensor operator*(const at::Tensor &x, const at::Tensor &y) { return x.mul(y); }
inline at::Tensor operator/(const at::Tensor &x, const at::Tensor &y) { return x.div(y); }
inline at::Tensor operator+(const at::Tensor &x, double y) { return x.add(y); }
inline at::Tensor operator*(const at::Tensor &x, double y) { return x.mul(y); }
inline at::Tensor operator/(const at::Tensor &x, double y) { return x.div(y); }

}  // namespace atb_host
