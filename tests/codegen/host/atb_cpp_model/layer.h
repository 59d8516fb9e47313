// One decoder layer of the test model: attention and a SwiGLU MLP, tensor parallel.
#pragma once

#include <string>

#include "atb_speed/utils/operation_util.h"

namespace atb_speed {
namespace toy {

struct LayerParam {
    bool isPrefill = false;
    int headNum = 0;
    int kvHeadNum = 0;
    int headDim = 0;
    float epsilon = 0;
    int rank = 0;
    int rankSize = 1;
};

enum LayerTensorId : uint32_t {
    IN_ATTENTION_NORM = 0,
    IN_Q_WEIGHT,
    IN_K_WEIGHT,
    IN_V_WEIGHT,
    IN_O_WEIGHT,
    IN_MLP_NORM,
    IN_GATE_UP_WEIGHT,
    IN_DOWN_WEIGHT,
    IN_HIDDEN,
    IN_COS,
    IN_SIN,
    IN_MASK,
    IN_K_CACHE,
    IN_V_CACHE,
    IN_SLOTS,
    IN_BLOCK_TABLES,
    IN_SEQ_LEN,
    OUT_HIDDEN,
    INTERNAL_NORMED,
    INTERNAL_Q,
    INTERNAL_K,
    INTERNAL_V,
    INTERNAL_Q_ROTATED,
    INTERNAL_K_ROTATED,
    INTERNAL_ATTENTION,
    INTERNAL_PROJECTED,
    INTERNAL_RESIDUAL,
    INTERNAL_MLP_NORMED,
    INTERNAL_GATE_UP,
    INTERNAL_ACTIVATED,
    INTERNAL_MLP,
    TENSOR_COUNT,
};

constexpr uint32_t LAYER_WEIGHTS = IN_HIDDEN;

atb::Status CreateLayer(const LayerParam &param, atb::Operation **operation);

}  // namespace toy
}  // namespace atb_speed
