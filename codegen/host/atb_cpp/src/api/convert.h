// Tensors of the C interface as ATB tensors and back.
#pragma once

#include <string>
#include <vector>

#include "api/c_api.h"
#include "atb/types.h"

namespace atb_host {

atb::Tensor FromC(const LlmcTensor &tensor, const std::string &what);
std::vector<atb::Tensor> FromC(const LlmcTensor *tensors, int32_t count, const std::string &what);
LlmcTensor ToC(const atb::Tensor &tensor);
LlmcTensor ToC(const atb::TensorDesc &desc);

/// Writes descriptions to the caller's array; fails if they do not fit.
void GiveDescs(const std::vector<atb::TensorDesc> &descs, LlmcTensor *outputs, int32_t room,
               int32_t *count);

/// Runs a function for the C interface: 0 or a status, the message kept. A failure that model code
/// ignored is a failure too.
int32_t Answer(const std::function<void()> &function);

}  // namespace atb_host
