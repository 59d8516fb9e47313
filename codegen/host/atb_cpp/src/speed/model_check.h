// Rules for the nodes of a model that can be checked when its graph is built.
#pragma once

#include <string>

#include "atb_speed/base/model.h"

namespace atb_host {

/// Fails at the first tensor that is not the model's, read before it is written, written twice,
/// never written or never read, and at nodes without operation or with wrong counts.
void CheckModelGraph(const atb_speed::Model::Graph &graph, const std::string &name);

}  // namespace atb_host
