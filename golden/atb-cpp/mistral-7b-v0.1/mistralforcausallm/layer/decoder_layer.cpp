#include "decoder_layer.h"

#include "atb_speed/utils/operation_util.h"

namespace atb_speed {
namespace mistralforcausallm {
namespace decoder_layer {
namespace {

atb::ReshapeFunc ViewKey(int32_t kvHeadNum)
{
    return [kvHeadNum](const atb::Dims &oldShape, atb::Dims &newShape) {
        newShape.dimNum = 3;
        newShape.dims[0] = oldShape.dims[0];
        newShape.dims[1] = kvHeadNum;
        newShape.dims[2] = 128;
    };
}

atb::ReshapeFunc ViewQuery(int32_t headNum)
{
    return [headNum](const atb::Dims &oldShape, atb::Dims &newShape) {
        newShape.dimNum = 3;
        newShape.dims[0] = oldShape.dims[0];
        newShape.dims[1] = headNum;
        newShape.dims[2] = 128;
    };
}

atb::ReshapeFunc ViewAttnFlat(int32_t headNum)
{
    return [headNum](const atb::Dims &oldShape, atb::Dims &newShape) {
        newShape.dimNum = 2;
        newShape.dims[0] = oldShape.dims[0];
        newShape.dims[1] = headNum * 128;
    };
}

// input_layernorm: RMSNorm of 4096 features.
atb::Status AddInputLayernorm(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::RmsNormParam opParam;
    opParam.layerType = atb::infer::RmsNormParam::RmsNormType::RMS_NORM_NORM;
    opParam.normParam.epsilon = 1e-05F;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {IN_HIDDEN_STATES, IN_INPUT_LAYERNORM_WEIGHT};
    node.outTensorIds = {INTERMEDIATE_INPUT_LAYERNORM_OUT};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// q_proj, k_proj and v_proj in one product: 4096 -> 6144 features.
atb::Status AddSelfAttnQkvProj(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::LinearParam opParam;
    opParam.hasBias = false;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_INPUT_LAYERNORM_OUT, IN_SELF_ATTN_QKV_PROJ_WEIGHT};
    node.outTensorIds = {INTERMEDIATE_QKV_PROJ_OUT};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Cut into 4096 + 1024 + 1024.
atb::Status AddSelfAttnQkvProjSplit(const Param &param, atb::GraphParam &graph)
{
    const int32_t headNum = param.PerRank(32);   // attention heads of this rank
    const int32_t kvHeadNum = param.PerRank(8);  // key-value heads of this rank
    atb::Node node;
    atb::infer::SplitParam opParam;
    opParam.splitDim = 1;
    opParam.splitNum = 3;
    opParam.splitSizes = {headNum * 128, kvHeadNum * 128, kvHeadNum * 128};
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_QKV_PROJ_OUT};
    node.outTensorIds = {INTERMEDIATE_Q_PROJ_OUT, INTERMEDIATE_K_PROJ_OUT, INTERMEDIATE_V_PROJ_OUT};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Rotary position embedding of queries and keys: element i turns with i + 64.
atb::Status AddSelfAttnRope(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::RopeParam opParam;
    opParam.rotaryCoeff = 2;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_Q_PROJ_OUT, INTERMEDIATE_K_PROJ_OUT, IN_COS, IN_SIN,
                        IN_SEQ_LENS};
    node.outTensorIds = {INTERMEDIATE_QUERY_FLAT, INTERMEDIATE_KEY_FLAT};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// The new keys and values go to their slots of the cache, in place.
atb::Status AddSelfAttnReshapeAndCache(const Param &param, atb::GraphParam &graph)
{
    const int32_t kvHeadNum = param.PerRank(8);  // key-value heads of this rank
    atb::Node node;
    atb::infer::ReshapeAndCacheParam opParam;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_KEY_FLAT, INTERMEDIATE_V_PROJ_OUT, IN_K_CACHE, IN_V_CACHE,
                        IN_SLOTS};
    node.outTensorIds = {IN_K_CACHE, IN_V_CACHE};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewKey(kvHeadNum);
    node.inTensorReshapeFuncs.at(1) = ViewKey(kvHeadNum);
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Attention under the mask within each prompt; 32 query heads share 8 key-value heads.
atb::Status AddSelfAttnAttention(const Param &param, atb::GraphParam &graph)
{
    const int32_t headNum = param.PerRank(32);   // attention heads of this rank
    const int32_t kvHeadNum = param.PerRank(8);  // key-value heads of this rank
    atb::Node node;
    atb::infer::SelfAttentionParam opParam;
    opParam.headNum = headNum;
    opParam.kvHeadNum = kvHeadNum;
    opParam.qkScale = 0.08838834764831845F;
    opParam.calcType = atb::infer::SelfAttentionParam::CalcType::PA_ENCODER;
    opParam.maskType = atb::infer::SelfAttentionParam::MaskType::MASK_TYPE_NORM;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_QUERY_FLAT, INTERMEDIATE_KEY_FLAT, INTERMEDIATE_V_PROJ_OUT,
                        IN_PROMPT_WINDOW_4096_MASK, IN_SEQ_LENS};
    node.outTensorIds = {INTERMEDIATE_ATTN_OUT};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewQuery(headNum);
    node.inTensorReshapeFuncs.at(1) = ViewKey(kvHeadNum);
    node.inTensorReshapeFuncs.at(2) = ViewKey(kvHeadNum);
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Attention of each new token over its cached sequence; 32 query heads share 8 key-value heads.
atb::Status AddSelfAttnPagedAttention(const Param &param, atb::GraphParam &graph)
{
    const int32_t headNum = param.PerRank(32);   // attention heads of this rank
    const int32_t kvHeadNum = param.PerRank(8);  // key-value heads of this rank
    atb::Node node;
    atb::infer::PagedAttentionParam opParam;
    opParam.headNum = headNum;
    opParam.qkScale = 0.08838834764831845F;
    opParam.kvHeadNum = kvHeadNum;
    opParam.maskType = atb::infer::PagedAttentionParam::MaskType::MASK_TYPE_NORM;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_QUERY_FLAT, IN_K_CACHE,      IN_V_CACHE,
                        IN_BLOCK_TABLES,         IN_CONTEXT_LENS, IN_CACHE_WINDOW_4096_MASK};
    node.outTensorIds = {INTERMEDIATE_ATTN_OUT};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewQuery(headNum);
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// o_proj: 4096 -> 4096 features.
atb::Status AddSelfAttnOProj(const Param &param, atb::GraphParam &graph)
{
    const int32_t headNum = param.PerRank(32);  // attention heads of this rank
    atb::Node node;
    if (param.worldSize == 1) {
        atb::infer::LinearParam opParam;
        opParam.hasBias = false;
        CREATE_OPERATION(opParam, &node.operation);
    } else {
        // Each rank has a part of the input features: the products are summed over the ranks.
        atb::infer::LinearParallelParam opParam;
        opParam.transWeight = true;
        opParam.rank = param.rank;
        opParam.rankSize = param.worldSize;
        opParam.backend = param.backend;
        opParam.rankTableFile = param.rankTableFile;
        CREATE_OPERATION(opParam, &node.operation);
    }
    node.inTensorIds = {INTERMEDIATE_ATTN_OUT, IN_SELF_ATTN_O_PROJ_WEIGHT};
    node.outTensorIds = {INTERMEDIATE_O_PROJ_OUT};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewAttnFlat(headNum);
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Residual connection, then post_attention_layernorm: RMSNorm of 4096 features.
atb::Status AddPostAttentionLayernorm(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::RmsNormParam opParam;
    opParam.layerType = atb::infer::RmsNormParam::RmsNormType::RMS_NORM_PRENORM;
    opParam.preNormParam.epsilon = 1e-05F;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_O_PROJ_OUT, IN_HIDDEN_STATES,
                        IN_POST_ATTENTION_LAYERNORM_WEIGHT};
    node.outTensorIds = {INTERMEDIATE_POST_ATTENTION_LAYERNORM_OUT, INTERMEDIATE_AFTER_SELF_ATTN};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// gate_proj and up_proj in one product: 4096 -> 28672 features.
atb::Status AddMlpGateUpProj(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::LinearParam opParam;
    opParam.hasBias = false;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_POST_ATTENTION_LAYERNORM_OUT, IN_MLP_GATE_UP_PROJ_WEIGHT};
    node.outTensorIds = {INTERMEDIATE_GATE_UP_PROJ_OUT};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// silu(first half) * second half: gate and up projection.
atb::Status AddMlpActFn(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::ActivationParam opParam;
    opParam.activationType = atb::infer::ActivationType::ACTIVATION_SWIGLU_FORWARD;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_GATE_UP_PROJ_OUT};
    node.outTensorIds = {INTERMEDIATE_GATED};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// down_proj: 14336 -> 4096 features.
atb::Status AddMlpDownProj(const Param &param, atb::GraphParam &graph)
{
    atb::Node node;
    if (param.worldSize == 1) {
        atb::infer::LinearParam opParam;
        opParam.hasBias = false;
        CREATE_OPERATION(opParam, &node.operation);
    } else {
        // Each rank has a part of the input features: the products are summed over the ranks.
        atb::infer::LinearParallelParam opParam;
        opParam.transWeight = true;
        opParam.rank = param.rank;
        opParam.rankSize = param.worldSize;
        opParam.backend = param.backend;
        opParam.rankTableFile = param.rankTableFile;
        CREATE_OPERATION(opParam, &node.operation);
    }
    node.inTensorIds = {INTERMEDIATE_GATED, IN_MLP_DOWN_PROJ_WEIGHT};
    node.outTensorIds = {INTERMEDIATE_DOWN_PROJ_OUT};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Residual connection.
atb::Status AddResidual(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::ElewiseParam opParam;
    opParam.elewiseType = atb::infer::ElewiseParam::ElewiseType::ELEWISE_ADD;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_AFTER_SELF_ATTN, INTERMEDIATE_DOWN_PROJ_OUT};
    node.outTensorIds = {OUT_HIDDEN_STATES};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

atb::Status AddOperations(const Param &param, atb::GraphParam &graph)
{
    CHECK_OPERATION_STATUS_RETURN(AddInputLayernorm(graph));
    CHECK_OPERATION_STATUS_RETURN(AddSelfAttnQkvProj(graph));
    CHECK_OPERATION_STATUS_RETURN(AddSelfAttnQkvProjSplit(param, graph));
    CHECK_OPERATION_STATUS_RETURN(AddSelfAttnRope(graph));
    CHECK_OPERATION_STATUS_RETURN(AddSelfAttnReshapeAndCache(param, graph));
    if (param.isPrefill) {
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnAttention(param, graph));
    } else {
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnPagedAttention(param, graph));
    }
    CHECK_OPERATION_STATUS_RETURN(AddSelfAttnOProj(param, graph));
    CHECK_OPERATION_STATUS_RETURN(AddPostAttentionLayernorm(graph));
    CHECK_OPERATION_STATUS_RETURN(AddMlpGateUpProj(graph));
    CHECK_OPERATION_STATUS_RETURN(AddMlpActFn(graph));
    CHECK_OPERATION_STATUS_RETURN(AddMlpDownProj(param, graph));
    CHECK_OPERATION_STATUS_RETURN(AddResidual(graph));
    return atb::NO_ERROR;
}

// Shapes of the results from those of the inputs.
atb::Status InferShape(const atb::SVector<atb::TensorDesc> &inTensorDescs,
                       atb::SVector<atb::TensorDesc> &outTensorDescs)
{
    const int64_t tokens = inTensorDescs.at(IN_HIDDEN_STATES).shape.dims[0];
    atb::TensorDesc &hiddenStates = outTensorDescs.at(0);
    hiddenStates.dtype = inTensorDescs.at(IN_HIDDEN_STATES).dtype;
    hiddenStates.format = ACL_FORMAT_ND;
    hiddenStates.shape.dimNum = 2;
    hiddenStates.shape.dims[0] = tokens;
    hiddenStates.shape.dims[1] = 4096;
    return atb::NO_ERROR;
}

}  // namespace

atb::Status Create(const Param &param, atb::Operation **operation)
{
    atb::GraphParam graph;
    graph.name = param.isPrefill ? "mistralforcausallm_decoder_layer_prefill"
                                 : "mistralforcausallm_decoder_layer_decode";
    graph.inTensorNum = IN_TENSOR_COUNT;
    graph.outTensorNum = OUT_TENSOR_COUNT;
    graph.internalTensorNum = 14;
    graph.inferShapeFunc = InferShape;
    CHECK_OPERATION_STATUS_RETURN(AddOperations(param, graph));
    CREATE_OPERATION(graph, operation);
    return atb::NO_ERROR;
}

}  // namespace decoder_layer
}  // namespace mistralforcausallm
}  // namespace atb_speed
