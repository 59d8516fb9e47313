#ifndef GEMMA2FORCAUSALLM_LAYER_HEAD_H
#define GEMMA2FORCAUSALLM_LAYER_HEAD_H

#include "atb/atb_infer.h"

#include "../model/param.h"

namespace atb_speed {
namespace gemma2forcausallm {
// Head.
namespace head {

enum TensorId : uint32_t {
    // Weights, in the order in which the Python side gives them.
    IN_MODEL_NORM_WEIGHT = 0,
    IN_MODEL_EMBED_TOKENS_WEIGHT,
    // What changes from call to call.
    IN_HIDDEN_STATES,
    // Results.
    OUT_LOGITS,
    // Inside the graph.
    INTERMEDIATE_NORM_OUT,
    INTERMEDIATE_LM_HEAD_OUT,
    INTERMEDIATE_LOGITS_SHRUNK,
    INTERMEDIATE_LOGITS_TANH,
    // Inside the graph with several ranks.
    INTERMEDIATE_LOGITS_OF_RANK,
    INTERMEDIATE_LOGITS_OF_RANKS,
    INTERMEDIATE_LOGITS_BY_TOKEN,
};

constexpr uint32_t WEIGHT_COUNT = 2;
constexpr uint32_t IN_TENSOR_COUNT = 3;
constexpr uint32_t OUT_TENSOR_COUNT = 1;

// Makes the graph operation of one such stage.
atb::Status Create(const Param &param, atb::Operation **operation);

}  // namespace head
}  // namespace gemma2forcausallm
}  // namespace atb_speed

#endif
