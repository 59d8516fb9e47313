// Matrix products. `hasBias` of LinearParam is true unless told otherwise.
#ifndef LLM_CODEGEN_ATB_PARAMS_LINEAR_PARAMS_H
#define LLM_CODEGEN_ATB_PARAMS_LINEAR_PARAMS_H

#include "atb/params/enums.h"

namespace atb {
namespace infer {

struct LinearParam {
    enum MatmulType : uint8_t { MATMUL_UNDEFINED = 0, MATMUL_EIN_SUM };
    enum QuantMode : uint8_t { QUANT_UNDEFINED, PER_CHANNEL, PER_TOKEN };

    bool transposeA = false;
    bool transposeB = true;
    bool hasBias = true;
    aclDataType outDataType = ACL_DT_UNDEFINED;
    bool enAccum = false;
    MatmulType matmulType = MATMUL_UNDEFINED;
    QuantMode quantMode = QUANT_UNDEFINED;
    uint8_t rsv[21] = {0};
};

struct LinearSparseParam {
    bool transposeA = false;
    bool transposeB = true;
    uint32_t tilingK = 8;
    uint32_t tilingN = 8;
    uint8_t rsv[12] = {0};
};

}  // namespace infer
}  // namespace atb

#endif
