// Rules for graphs that can be checked before any shape is known.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "atb/types.h"

namespace atb_host {

/// Operation type of a node, for messages.
std::string KindOf(const atb::Operation &operation);

/// `graph 'name', node 3 (Linear): `
std::string PlaceOf(const atb::GraphParam &param, size_t node);

/// Fails at the first violation of ATB's limits or of the order of writing and reading.
///
/// Returns the input tensors that some node writes in place.
std::set<int> CheckGraph(const atb::GraphParam &param);

}  // namespace atb_host
