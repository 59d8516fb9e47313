// Operations from their registry name and JSON.
#pragma once

#include <memory>
#include <string>

#include "atb/operation.h"

namespace atb_host {

/// Fails if the type, a key or a value is not known.
std::unique_ptr<atb::Operation> OperationFromJson(const std::string &type, const std::string &text);

}  // namespace atb_host
