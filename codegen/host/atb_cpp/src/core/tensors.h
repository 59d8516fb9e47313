// ATB tensors as ATen tensors over the same memory, and allocation.
#pragma once

#include <string>

#include "core/aten.h"
#include "core/types.h"

namespace atb_host {

at::ScalarType ScalarOf(aclDataType dtype);

/// A view of memory that must outlive it.
at::Tensor ViewOf(void *data, const Type &type);

/// Fails if the tensor has no data, or `dataSize` is not what its description needs.
at::Tensor ViewOf(const atb::Tensor &tensor, const std::string &what);

/// New memory full of NaN or of an improbable integer, so that reading before writing shows.
at::Tensor Allocate(const Type &type);

/// The ATB tensor over the memory of an ATen tensor that is contiguous.
atb::Tensor TensorOver(const at::Tensor &tensor, const Type &type);

uint64_t BytesOf(const Type &type);

}  // namespace atb_host
