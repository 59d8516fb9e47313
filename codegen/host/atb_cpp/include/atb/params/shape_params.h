// Looking up, cutting, joining and rearranging tensors, softmax, format conversion.
#ifndef LLM_CODEGEN_ATB_PARAMS_SHAPE_PARAMS_H
#define LLM_CODEGEN_ATB_PARAMS_SHAPE_PARAMS_H

#include "atb/params/enums.h"

namespace atb {
namespace infer {

struct GatherParam {
    int64_t axis = 0;
    int64_t batchDims = 0;
    uint8_t rsv[16] = {0};
};

struct SplitParam {
    int32_t splitDim = 0;
    int32_t splitNum = 2;
    SVector<int32_t> splitSizes = {};
    uint8_t rsv[8] = {0};
};

struct ConcatParam {
    int concatDim = 0;
    uint8_t rsv[12] = {0};
};

struct SliceParam {
    SVector<int64_t> offsets;
    SVector<int64_t> size;
    uint8_t rsv[8] = {0};
};

struct SoftmaxParam {
    SVector<int64_t> axes;
    uint8_t rsv[8] = {0};
};

struct TransposeParam {
    SVector<int32_t> perm;
    uint8_t rsv[8] = {0};
};

struct RepeatParam {
    SVector<int64_t> multiples;
    uint8_t rsv[8] = {0};
};

struct TransdataParam {
    enum TransdataType : int { UNDEFINED = 0, FRACTAL_NZ_TO_ND, ND_TO_FRACTAL_NZ };

    TransdataType transdataType = UNDEFINED;
    SVector<int64_t> outCrops = {0, 0};
    uint8_t rsv[8] = {0};
};

}  // namespace infer
}  // namespace atb

#endif
