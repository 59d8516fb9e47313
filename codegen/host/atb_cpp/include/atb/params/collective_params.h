// Operations in which all ranks of a group take part.
#ifndef LLM_CODEGEN_ATB_PARAMS_COLLECTIVE_PARAMS_H
#define LLM_CODEGEN_ATB_PARAMS_COLLECTIVE_PARAMS_H

#include "atb/params/enums.h"

namespace atb {
namespace infer {

struct AllGatherParam {
    int rank = 0;
    int rankSize = 0;
    int rankRoot = 0;
    std::string backend = "hccl";
    HcclComm hcclComm = nullptr;
    CommMode commMode = COMM_MULTI_PROCESS;
    std::string rankTableFile;
    std::string commDomain;
    uint8_t rsv[64] = {0};
};

struct AllReduceParam {
    enum QuantType : int {
        QUANT_TYPE_UNQUANT = 0,
        QUANT_TYPE_UNDEFINED = 0,
        QUANT_TYPE_PER_TENSOR = 1,
        QUANT_TYPE_PER_CHANNEL = 2,
        QUANT_TYPE_MAX = 3,
    };

    int rank = 0;
    int rankSize = 0;
    int rankRoot = 0;
    std::string allReduceType = "sum";
    std::string backend = "hccl";
    HcclComm hcclComm = nullptr;
    CommMode commMode = COMM_MULTI_PROCESS;
    std::string rankTableFile;
    std::string commDomain;
    QuantType quantType = QUANT_TYPE_UNQUANT;
    aclDataType outDataType = ACL_DT_UNDEFINED;
    uint8_t rsv[64] = {0};
};

struct LinearParallelParam {
    enum ParallelType : int {
        UNDEFINED = -1,
        LINEAR_ALL_REDUCE = 0,
        LINEAR_REDUCE_SCATTER = 1,
        ALL_GATHER_LINEAR = 2,
        PURE_LINEAR = 3,
        ALL_GATHER_LINEAR_REDUCE_SCATTER = 4,
        ALLTOALLVC_ALL_GATHER_GMM = 5,
        GMM_REDUCE_SCATTER_ALLTOALLVC = 6,
        MAX = 7,
    };
    enum QuantType : int {
        QUANT_TYPE_UNDEFINED = -1,
        QUANT_TYPE_UNQUANT = -1,
        QUANT_TYPE_PER_TENSOR = 0,
        QUANT_TYPE_PER_CHANNEL = 1,
        QUANT_TYPE_PER_GROUP = 2,
        QUANT_TYPE_PER_TOKEN = 3,
        QUANT_TYPE_MAX = 4,
    };
    struct TwoDimTPInfo {
        uint16_t agDim = 0;
        uint16_t rsDim = 0;
        uint8_t innerDimIsAg = 1;
        uint8_t rsv[3] = {0};
    };
    struct MoeInfo {
        int16_t localExpertNums = 1;
        int8_t epSize = 1;
        int8_t tpSize = 1;
    };

    bool transWeight = true;
    int rank = 0;
    int rankSize = 0;
    int rankRoot = 0;
    bool hasResidual = false;
    std::string backend = "hccl";
    HcclComm hcclComm = nullptr;
    CommMode commMode = COMM_MULTI_PROCESS;
    std::string rankTableFile;
    ParallelType type = LINEAR_ALL_REDUCE;
    bool keepIntermediate = false;
    QuantType quantType = QUANT_TYPE_UNQUANT;
    int32_t quantGroupSize = 0;
    aclDataType outDataType = ACL_DT_UNDEFINED;
    std::string commDomain;
    TwoDimTPInfo twoDimTPInfo;
    MoeInfo moeInfo;
    uint8_t rsv[52] = {0};
};

}  // namespace infer
}  // namespace atb

#endif
