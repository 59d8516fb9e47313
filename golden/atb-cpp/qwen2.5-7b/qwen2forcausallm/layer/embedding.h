#ifndef QWEN2FORCAUSALLM_LAYER_EMBEDDING_H
#define QWEN2FORCAUSALLM_LAYER_EMBEDDING_H

#include "atb/atb_infer.h"

#include "../model/param.h"

namespace atb_speed {
namespace qwen2forcausallm {
// Embedding.
namespace embedding {

enum TensorId : uint32_t {
    // Weights, in the order in which the Python side gives them.
    IN_MODEL_EMBED_TOKENS_WEIGHT = 0,
    // What changes from call to call.
    IN_INPUT_IDS,
    // Results.
    OUT_HIDDEN_STATES,
};

constexpr uint32_t WEIGHT_COUNT = 1;
constexpr uint32_t IN_TENSOR_COUNT = 2;
constexpr uint32_t OUT_TENSOR_COUNT = 1;

// Makes the graph operation of one such stage.
atb::Status Create(const Param &param, atb::Operation **operation);

}  // namespace embedding
}  // namespace qwen2forcausallm
}  // namespace atb_speed

#endif
