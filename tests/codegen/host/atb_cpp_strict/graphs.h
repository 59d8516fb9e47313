// Small graphs, each with one mistake, by name.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "atb_speed/utils/operation_util.h"

namespace atb_speed {
namespace strict {

/// Operations on float tensors of any shape.
atb::Operation *Swish();
atb::Operation *Add();
atb::Operation *Linear(bool hasBias);

atb::Node MakeNode(atb::Operation *operation, std::initializer_list<uint32_t> ins,
                   std::initializer_list<uint32_t> outs);

/// Graph `g` with counts of input, output and internal tensors.
atb::GraphParam MakeGraph(uint32_t ins, uint32_t outs, uint32_t internals);

/// What each case builds: a graph with two inputs and one output.
const std::map<std::string, std::function<atb::GraphParam()>> &Cases();

}  // namespace strict
}  // namespace atb_speed
