#include "core/aten.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>

namespace atb_host {

at::Tensor FromBlob(void *data, const Shape &shape, at::ScalarType dtype) {
    return at::from_blob(data, shape, at::TensorOptions(dtype));
}

at::Tensor Filled(const Shape &shape, double value, at::ScalarType dtype) {
    return at::full(shape, value, at::TensorOptions(dtype));
}

at::Tensor Joined(const std::vector<at::Tensor> &tensors, int64_t axis) {
    return at::cat(tensors, axis);
}

at::Tensor Stacked(const std::vector<at::Tensor> &tensors, int64_t axis) {
    return at::stack(tensors, axis);
}

at::Tensor Einsum(const std::string &equation, const at::Tensor &left, const at::Tensor &right) {
    return at::einsum(equation, {left, right});
}

at::Tensor Gelu(const at::Tensor &x, bool exact) { return at::gelu(x, exact ? "none" : "tanh"); }

at::Tensor Silu(const at::Tensor &x) { return at::silu(x); }

}  // namespace atb_host
