// Non-linearities and element-wise arithmetic.
#ifndef LLM_CODEGEN_ATB_PARAMS_ELEWISE_PARAMS_H
#define LLM_CODEGEN_ATB_PARAMS_ELEWISE_PARAMS_H

#include "atb/params/enums.h"

namespace atb {
namespace infer {

struct ActivationParam {
    enum GeLUMode : int { TANH_MODE = 0, NONE_MODE };

    ActivationType activationType = ACTIVATION_UNDEFINED;
    float scale = 1.0f;
    int32_t dim = -1;
    GeLUMode geluMode = TANH_MODE;
    uint8_t rsv[8] = {0};
};

struct ElewiseParam {
    enum ElewiseType : int {
        ELEWISE_UNDEFINED = 0,
        ELEWISE_CAST,
        ELEWISE_MULS,
        ELEWISE_COS,
        ELEWISE_SIN,
        ELEWISE_NEG,
        ELEWISE_QUANT,
        ELEWISE_LOGICAL_NOT,
        ELEWISE_ADD,
        ELEWISE_MUL,
        ELEWISE_REALDIV,
        ELEWISE_LOGICAL_AND,
        ELEWISE_LOGICAL_OR,
        ELEWISE_LESS,
        ELEWISE_GREATER,
        ELEWISE_SUB,
        ELEWISE_EQUAL,
        ELEWISE_QUANT_PER_CHANNEL,
        ELEWISE_DEQUANT_PER_CHANNEL,
        ELEWISE_DYNAMIC_QUANT,
        ELEWISE_TANH,
        ELEWISE_TYPE_MAX,
    };
    struct QuantParam {
        float inputScale = 1.0f;
        bool asymmetric = false;
        int inputOffset = 0;
        uint8_t rsv[20] = {0};
    };
    struct MulsParam {
        float varAttr = 0.0f;
        uint8_t rsv[12] = {0};
    };

    ElewiseType elewiseType = ELEWISE_UNDEFINED;
    QuantParam quantParam;
    MulsParam mulsParam;
    aclDataType outTensorType = ACL_DT_UNDEFINED;
    uint8_t rsv[8] = {0};
};

}  // namespace infer
}  // namespace atb

#endif
