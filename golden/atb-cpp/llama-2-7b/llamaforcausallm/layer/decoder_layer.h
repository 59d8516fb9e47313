#ifndef LLAMAFORCAUSALLM_LAYER_DECODER_LAYER_H
#define LLAMAFORCAUSALLM_LAYER_DECODER_LAYER_H

#include "atb/atb_infer.h"

#include "../model/param.h"

namespace atb_speed {
namespace llamaforcausallm {
// Decoder layer.
namespace decoder_layer {

enum TensorId : uint32_t {
    // Weights, in the order in which the Python side gives them.
    IN_INPUT_LAYERNORM_WEIGHT = 0,
    IN_SELF_ATTN_QKV_PROJ_WEIGHT,
    IN_SELF_ATTN_O_PROJ_WEIGHT,
    IN_POST_ATTENTION_LAYERNORM_WEIGHT,
    IN_MLP_GATE_UP_PROJ_WEIGHT,
    IN_MLP_DOWN_PROJ_WEIGHT,
    // What changes from call to call.
    IN_HIDDEN_STATES,
    IN_COS,
    IN_SIN,
    IN_SEQ_LENS,
    IN_SLOTS,
    IN_K_CACHE,
    IN_V_CACHE,
    IN_CAUSAL_MASK,
    IN_BLOCK_TABLES,
    IN_CONTEXT_LENS,
    // Results.
    OUT_HIDDEN_STATES,
    // Inside the graph.
    INTERMEDIATE_INPUT_LAYERNORM_OUT,
    INTERMEDIATE_QKV_PROJ_OUT,
    INTERMEDIATE_Q_PROJ_OUT,
    INTERMEDIATE_K_PROJ_OUT,
    INTERMEDIATE_V_PROJ_OUT,
    INTERMEDIATE_QUERY_FLAT,
    INTERMEDIATE_KEY_FLAT,
    INTERMEDIATE_ATTN_OUT,
    INTERMEDIATE_O_PROJ_OUT,
    INTERMEDIATE_POST_ATTENTION_LAYERNORM_OUT,
    INTERMEDIATE_AFTER_SELF_ATTN,
    INTERMEDIATE_GATE_UP_PROJ_OUT,
    INTERMEDIATE_GATED,
    INTERMEDIATE_DOWN_PROJ_OUT,
};

constexpr uint32_t WEIGHT_COUNT = 6;
constexpr uint32_t IN_TENSOR_COUNT = 16;
constexpr uint32_t OUT_TENSOR_COUNT = 1;

// Makes the graph operation of one such stage.
atb::Status Create(const Param &param, atb::Operation **operation);

}  // namespace decoder_layer
}  // namespace llamaforcausallm
}  // namespace atb_speed

#endif
