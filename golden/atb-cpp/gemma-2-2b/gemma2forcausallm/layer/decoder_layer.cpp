#include "decoder_layer.h"

#include "atb_speed/utils/operation_util.h"

namespace atb_speed {
namespace gemma2forcausallm {
namespace decoder_layer {
namespace {

atb::ReshapeFunc ViewKey()
{
    return [](const atb::Dims &oldShape, atb::Dims &newShape) {
        newShape.dimNum = 3;
        newShape.dims[0] = oldShape.dims[0];
        newShape.dims[1] = 4;
        newShape.dims[2] = 256;
    };
}

atb::ReshapeFunc ViewQueryGroups()
{
    return [](const atb::Dims &oldShape, atb::Dims &newShape) {
        newShape.dimNum = 4;
        newShape.dims[0] = oldShape.dims[0];
        newShape.dims[1] = 4;
        newShape.dims[2] = 2;
        newShape.dims[3] = 256;
    };
}

atb::ReshapeFunc ViewQueryRows()
{
    return [](const atb::Dims &oldShape, atb::Dims &newShape) {
        newShape.dimNum = 3;
        newShape.dims[0] = 4;
        newShape.dims[1] = oldShape.dims[2] * 2;
        newShape.dims[2] = 256;
    };
}

atb::ReshapeFunc ViewHeadScores()
{
    return [](const atb::Dims &oldShape, atb::Dims &newShape) {
        newShape.dimNum = 3;
        newShape.dims[0] = 8;
        newShape.dims[1] = oldShape.dims[1] / 2;
        newShape.dims[2] = oldShape.dims[1] / 2;
    };
}

atb::ReshapeFunc ViewProbabilityRows()
{
    return [](const atb::Dims &oldShape, atb::Dims &newShape) {
        newShape.dimNum = 3;
        newShape.dims[0] = 4;
        newShape.dims[1] = oldShape.dims[1] * 2;
        newShape.dims[2] = oldShape.dims[1];
    };
}

atb::ReshapeFunc ViewHeadMixed()
{
    return [](const atb::Dims &oldShape, atb::Dims &newShape) {
        newShape.dimNum = 4;
        newShape.dims[0] = 4;
        newShape.dims[1] = 2;
        newShape.dims[2] = oldShape.dims[1] / 2;
        newShape.dims[3] = 256;
    };
}

atb::ReshapeFunc ViewAttnFlat()
{
    return [](const atb::Dims &oldShape, atb::Dims &newShape) {
        newShape.dimNum = 2;
        newShape.dims[0] = oldShape.dims[0];
        newShape.dims[1] = 2048;
    };
}

atb::ReshapeFunc ViewCachedKeys()
{
    return [](const atb::Dims &oldShape, atb::Dims &newShape) {
        newShape.dimNum = 4;
        newShape.dims[0] = oldShape.dims[0];
        newShape.dims[1] = oldShape.dims[1] * 128;
        newShape.dims[2] = 4;
        newShape.dims[3] = 256;
    };
}

atb::ReshapeFunc ViewQueryRows2()
{
    return [](const atb::Dims &oldShape, atb::Dims &newShape) {
        newShape.dimNum = 3;
        newShape.dims[0] = oldShape.dims[0] * 4;
        newShape.dims[1] = 2;
        newShape.dims[2] = 256;
    };
}

atb::ReshapeFunc ViewHeadKeys()
{
    return [](const atb::Dims &oldShape, atb::Dims &newShape) {
        newShape.dimNum = 3;
        newShape.dims[0] = oldShape.dims[0] * 4;
        newShape.dims[1] = oldShape.dims[2];
        newShape.dims[2] = 256;
    };
}

atb::ReshapeFunc ViewHeadScores2()
{
    return [](const atb::Dims &oldShape, atb::Dims &newShape) {
        newShape.dimNum = 3;
        newShape.dims[0] = oldShape.dims[0] / 4;
        newShape.dims[1] = 8;
        newShape.dims[2] = oldShape.dims[2];
    };
}

atb::ReshapeFunc ViewProbabilityRows2()
{
    return [](const atb::Dims &oldShape, atb::Dims &newShape) {
        newShape.dimNum = 3;
        newShape.dims[0] = oldShape.dims[0] * 4;
        newShape.dims[1] = 2;
        newShape.dims[2] = oldShape.dims[2];
    };
}

atb::ReshapeFunc ViewAttnFlat2()
{
    return [](const atb::Dims &oldShape, atb::Dims &newShape) {
        newShape.dimNum = 2;
        newShape.dims[0] = oldShape.dims[0] / 4;
        newShape.dims[1] = 2048;
    };
}

// input_layernorm: RMSNorm of 2304 features, weight stored minus one.
atb::Status AddInputLayernorm(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::RmsNormParam opParam;
    opParam.layerType = atb::infer::RmsNormParam::RmsNormType::RMS_NORM_NORM;
    opParam.normParam.epsilon = 1e-06F;
    opParam.normParam.modelType = atb::infer::RmsNormParam::ModelType::GEMMA_MODEL;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {IN_HIDDEN_STATES, IN_INPUT_LAYERNORM_WEIGHT};
    node.outTensorIds = {INTERMEDIATE_INPUT_LAYERNORM_OUT};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// q_proj, k_proj and v_proj in one product: 2304 -> 4096 features.
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

// Cut into 2048 + 1024 + 1024.
atb::Status AddSelfAttnQkvProjSplit(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::SplitParam opParam;
    opParam.splitDim = 1;
    opParam.splitNum = 3;
    opParam.splitSizes = {2048, 1024, 1024};
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_QKV_PROJ_OUT};
    node.outTensorIds = {INTERMEDIATE_Q_PROJ_OUT, INTERMEDIATE_K_PROJ_OUT, INTERMEDIATE_V_PROJ_OUT};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Rotary position embedding of queries and keys: element i turns with i + 128.
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
atb::Status AddSelfAttnReshapeAndCache(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::ReshapeAndCacheParam opParam;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_KEY_FLAT, INTERMEDIATE_V_PROJ_OUT, IN_K_CACHE, IN_V_CACHE,
                        IN_SLOTS};
    node.outTensorIds = {IN_K_CACHE, IN_V_CACHE};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewKey();
    node.inTensorReshapeFuncs.at(1) = ViewKey();
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Heads in front: each is a matrix of its own.
atb::Status AddSelfAttnTransposeInPrefill(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::TransposeParam opParam;
    opParam.perm = {1, 2, 0, 3};
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_QUERY_FLAT};
    node.outTensorIds = {INTERMEDIATE_QUERIES};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewQueryGroups();
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Heads in front: each is a matrix of its own.
atb::Status AddSelfAttnTranspose2InPrefill(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::TransposeParam opParam;
    opParam.perm = {1, 0, 2};
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_KEY_FLAT};
    node.outTensorIds = {INTERMEDIATE_KEYS};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewKey();
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Heads in front: each is a matrix of its own.
atb::Status AddSelfAttnTranspose3(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::TransposeParam opParam;
    opParam.perm = {1, 0, 2};
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_V_PROJ_OUT};
    node.outTensorIds = {INTERMEDIATE_VALUES};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewKey();
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Scores: queries times keys, head by head.
atb::Status AddSelfAttnLinearInPrefill(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::LinearParam opParam;
    opParam.hasBias = false;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_QUERIES, INTERMEDIATE_KEYS};
    node.outTensorIds = {INTERMEDIATE_SCORES};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewQueryRows();
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Soft cap, cap * tanh(x / cap); here the factor in front of tanh, 0.00125.
atb::Status AddSelfAttnMulsInPrefill(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::ElewiseParam opParam;
    opParam.elewiseType = atb::infer::ElewiseParam::ElewiseType::ELEWISE_MULS;
    opParam.mulsParam.varAttr = 0.00125F;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_SCORES};
    node.outTensorIds = {INTERMEDIATE_CAPPED_SCORES_SHRUNK};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewHeadScores();
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// The cache blocks of each sequence.
atb::Status AddSelfAttnGather(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::GatherParam opParam;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {IN_K_CACHE, IN_BLOCK_TABLES};
    node.outTensorIds = {INTERMEDIATE_KEYS_BLOCKS};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Heads before keys.
atb::Status AddSelfAttnTransposeInDecode(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::TransposeParam opParam;
    opParam.perm = {0, 2, 1, 3};
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_KEYS_BLOCKS};
    node.outTensorIds = {INTERMEDIATE_KEYS};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewCachedKeys();
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// The cache blocks of each sequence.
atb::Status AddSelfAttnGather2(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::GatherParam opParam;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {IN_V_CACHE, IN_BLOCK_TABLES};
    node.outTensorIds = {INTERMEDIATE_VALUES_BLOCKS};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Heads before keys.
atb::Status AddSelfAttnTranspose2InDecode(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::TransposeParam opParam;
    opParam.perm = {0, 2, 1, 3};
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_VALUES_BLOCKS};
    node.outTensorIds = {INTERMEDIATE_VALUES};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewCachedKeys();
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Scores: queries times keys, head by head.
atb::Status AddSelfAttnLinearInDecode(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::LinearParam opParam;
    opParam.hasBias = false;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_QUERY_FLAT, INTERMEDIATE_KEYS};
    node.outTensorIds = {INTERMEDIATE_SCORES};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewQueryRows2();
    node.inTensorReshapeFuncs.at(1) = ViewHeadKeys();
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Soft cap, cap * tanh(x / cap); here the factor in front of tanh, 0.00125.
atb::Status AddSelfAttnMulsInDecode(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::ElewiseParam opParam;
    opParam.elewiseType = atb::infer::ElewiseParam::ElewiseType::ELEWISE_MULS;
    opParam.mulsParam.varAttr = 0.00125F;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_SCORES};
    node.outTensorIds = {INTERMEDIATE_CAPPED_SCORES_SHRUNK};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewHeadScores2();
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

atb::Status AddSelfAttnTanh(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::ElewiseParam opParam;
    opParam.elewiseType = atb::infer::ElewiseParam::ElewiseType::ELEWISE_TANH;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_CAPPED_SCORES_SHRUNK};
    node.outTensorIds = {INTERMEDIATE_CAPPED_SCORES_TANH};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// The cap: results stay between -50.0 and 50.0.
atb::Status AddSelfAttnMuls2(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::ElewiseParam opParam;
    opParam.elewiseType = atb::infer::ElewiseParam::ElewiseType::ELEWISE_MULS;
    opParam.mulsParam.varAttr = 50.0F;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_CAPPED_SCORES_TANH};
    node.outTensorIds = {INTERMEDIATE_CAPPED_SCORES};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// -inf where a token may not look.
atb::Status AddSelfAttnAddInPrefill(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::ElewiseParam opParam;
    opParam.elewiseType = atb::infer::ElewiseParam::ElewiseType::ELEWISE_ADD;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_CAPPED_SCORES, IN_BATCH_WINDOW_4096_MASK};
    node.outTensorIds = {INTERMEDIATE_MASKED_SCORES};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// -inf where a token may not look.
atb::Status AddSelfAttnAddInDecode(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::ElewiseParam opParam;
    opParam.elewiseType = atb::infer::ElewiseParam::ElewiseType::ELEWISE_ADD;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_CAPPED_SCORES, IN_CACHE_WINDOW_4096_MASK};
    node.outTensorIds = {INTERMEDIATE_MASKED_SCORES};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Probabilities over the keys.
atb::Status AddSelfAttnSoftmax(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::SoftmaxParam opParam;
    opParam.axes = {-1};
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_MASKED_SCORES};
    node.outTensorIds = {INTERMEDIATE_PROBABILITIES};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Probabilities times values.
atb::Status AddSelfAttnLinear2InPrefill(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::LinearParam opParam;
    opParam.transposeB = false;
    opParam.hasBias = false;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_PROBABILITIES, INTERMEDIATE_VALUES};
    node.outTensorIds = {INTERMEDIATE_MIXED};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewProbabilityRows();
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Tokens in front again.
atb::Status AddSelfAttnTranspose4(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::TransposeParam opParam;
    opParam.perm = {2, 0, 1, 3};
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_MIXED};
    node.outTensorIds = {INTERMEDIATE_ATTENDED};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewHeadMixed();
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// o_proj: 2048 -> 2304 features.
atb::Status AddSelfAttnOProjInPrefill(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::LinearParam opParam;
    opParam.hasBias = false;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_ATTENDED, IN_SELF_ATTN_O_PROJ_WEIGHT};
    node.outTensorIds = {INTERMEDIATE_O_PROJ_OUT};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewAttnFlat();
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Probabilities times values.
atb::Status AddSelfAttnLinear2InDecode(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::LinearParam opParam;
    opParam.transposeB = false;
    opParam.hasBias = false;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_PROBABILITIES, INTERMEDIATE_VALUES};
    node.outTensorIds = {INTERMEDIATE_MIXED};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewProbabilityRows2();
    node.inTensorReshapeFuncs.at(1) = ViewHeadKeys();
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// o_proj: 2048 -> 2304 features.
atb::Status AddSelfAttnOProjInDecode(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::LinearParam opParam;
    opParam.hasBias = false;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_MIXED, IN_SELF_ATTN_O_PROJ_WEIGHT};
    node.outTensorIds = {INTERMEDIATE_O_PROJ_OUT};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewAttnFlat2();
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// post_attention_layernorm: RMSNorm of 2304 features, weight stored minus one.
atb::Status AddPostAttentionLayernorm(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::RmsNormParam opParam;
    opParam.layerType = atb::infer::RmsNormParam::RmsNormType::RMS_NORM_NORM;
    opParam.normParam.epsilon = 1e-06F;
    opParam.normParam.modelType = atb::infer::RmsNormParam::ModelType::GEMMA_MODEL;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_O_PROJ_OUT, IN_POST_ATTENTION_LAYERNORM_WEIGHT};
    node.outTensorIds = {INTERMEDIATE_POST_ATTENTION_LAYERNORM_OUT};
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
    node.inTensorIds = {IN_HIDDEN_STATES, INTERMEDIATE_POST_ATTENTION_LAYERNORM_OUT};
    node.outTensorIds = {INTERMEDIATE_AFTER_POST_ATTENTION_LAYERNORM};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// pre_feedforward_layernorm: RMSNorm of 2304 features, weight stored minus one.
atb::Status AddPreFeedforwardLayernorm(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::RmsNormParam opParam;
    opParam.layerType = atb::infer::RmsNormParam::RmsNormType::RMS_NORM_NORM;
    opParam.normParam.epsilon = 1e-06F;
    opParam.normParam.modelType = atb::infer::RmsNormParam::ModelType::GEMMA_MODEL;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_AFTER_POST_ATTENTION_LAYERNORM,
                        IN_PRE_FEEDFORWARD_LAYERNORM_WEIGHT};
    node.outTensorIds = {INTERMEDIATE_PRE_FEEDFORWARD_LAYERNORM_OUT};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// gate_proj and up_proj in one product: 2304 -> 18432 features.
atb::Status AddMlpGateUpProj(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::LinearParam opParam;
    opParam.hasBias = false;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_PRE_FEEDFORWARD_LAYERNORM_OUT, IN_MLP_GATE_UP_PROJ_WEIGHT};
    node.outTensorIds = {INTERMEDIATE_GATE_UP_PROJ_OUT};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Cut into 9216 + 9216.
atb::Status AddMlpGateUpProjSplit(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::SplitParam opParam;
    opParam.splitDim = 1;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_GATE_UP_PROJ_OUT};
    node.outTensorIds = {INTERMEDIATE_GATE, INTERMEDIATE_UP};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// GELU, tanh form.
atb::Status AddMlpActFnGelu(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::ActivationParam opParam;
    opParam.activationType = atb::infer::ActivationType::ACTIVATION_GELU;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_GATE};
    node.outTensorIds = {INTERMEDIATE_ACTIVE};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Product.
atb::Status AddMlpActFnMul(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::ElewiseParam opParam;
    opParam.elewiseType = atb::infer::ElewiseParam::ElewiseType::ELEWISE_MUL;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_ACTIVE, INTERMEDIATE_UP};
    node.outTensorIds = {INTERMEDIATE_GATED};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// down_proj: 9216 -> 2304 features.
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

// post_feedforward_layernorm: RMSNorm of 2304 features, weight stored minus one.
atb::Status AddPostFeedforwardLayernorm(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::RmsNormParam opParam;
    opParam.layerType = atb::infer::RmsNormParam::RmsNormType::RMS_NORM_NORM;
    opParam.normParam.epsilon = 1e-06F;
    opParam.normParam.modelType = atb::infer::RmsNormParam::ModelType::GEMMA_MODEL;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_DOWN_PROJ_OUT, IN_POST_FEEDFORWARD_LAYERNORM_WEIGHT};
    node.outTensorIds = {INTERMEDIATE_POST_FEEDFORWARD_LAYERNORM_OUT};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Residual connection.
atb::Status AddResidual2(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::ElewiseParam opParam;
    opParam.elewiseType = atb::infer::ElewiseParam::ElewiseType::ELEWISE_ADD;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_AFTER_POST_ATTENTION_LAYERNORM,
                        INTERMEDIATE_POST_FEEDFORWARD_LAYERNORM_OUT};
    node.outTensorIds = {OUT_HIDDEN_STATES};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

atb::Status AddOperations(const Param &param, atb::GraphParam &graph)
{
    CHECK_OPERATION_STATUS_RETURN(AddInputLayernorm(graph));
    CHECK_OPERATION_STATUS_RETURN(AddSelfAttnQkvProj(graph));
    CHECK_OPERATION_STATUS_RETURN(AddSelfAttnQkvProjSplit(graph));
    CHECK_OPERATION_STATUS_RETURN(AddSelfAttnRope(graph));
    CHECK_OPERATION_STATUS_RETURN(AddSelfAttnReshapeAndCache(graph));
    if (param.isPrefill) {
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnTransposeInPrefill(graph));
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnTranspose2InPrefill(graph));
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnTranspose3(graph));
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnLinearInPrefill(graph));
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnMulsInPrefill(graph));
    } else {
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnGather(graph));
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnTransposeInDecode(graph));
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnGather2(graph));
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnTranspose2InDecode(graph));
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnLinearInDecode(graph));
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnMulsInDecode(graph));
    }
    CHECK_OPERATION_STATUS_RETURN(AddSelfAttnTanh(graph));
    CHECK_OPERATION_STATUS_RETURN(AddSelfAttnMuls2(graph));
    if (param.isPrefill) {
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnAddInPrefill(graph));
    } else {
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnAddInDecode(graph));
    }
    CHECK_OPERATION_STATUS_RETURN(AddSelfAttnSoftmax(graph));
    if (param.isPrefill) {
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnLinear2InPrefill(graph));
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnTranspose4(graph));
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnOProjInPrefill(graph));
    } else {
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnLinear2InDecode(graph));
        CHECK_OPERATION_STATUS_RETURN(AddSelfAttnOProjInDecode(graph));
    }
    CHECK_OPERATION_STATUS_RETURN(AddPostAttentionLayernorm(graph));
    CHECK_OPERATION_STATUS_RETURN(AddResidual(graph));
    CHECK_OPERATION_STATUS_RETURN(AddPreFeedforwardLayernorm(graph));
    CHECK_OPERATION_STATUS_RETURN(AddMlpGateUpProj(graph));
    CHECK_OPERATION_STATUS_RETURN(AddMlpGateUpProjSplit(graph));
    CHECK_OPERATION_STATUS_RETURN(AddMlpActFnGelu(graph));
    CHECK_OPERATION_STATUS_RETURN(AddMlpActFnMul(graph));
    CHECK_OPERATION_STATUS_RETURN(AddMlpDownProj(param, graph));
    CHECK_OPERATION_STATUS_RETURN(AddPostFeedforwardLayernorm(graph));
    CHECK_OPERATION_STATUS_RETURN(AddResidual2(graph));
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
    hiddenStates.shape.dims[1] = 2304;
    return atb::NO_ERROR;
}

}  // namespace

atb::Status Create(const Param &param, atb::Operation **operation)
{
    atb::GraphParam graph;
    graph.name = param.isPrefill ? "gemma2forcausallm_decoder_layer_prefill"
                                 : "gemma2forcausallm_decoder_layer_decode";
    graph.inTensorNum = IN_TENSOR_COUNT;
    graph.outTensorNum = OUT_TENSOR_COUNT;
    graph.internalTensorNum = 29;
    graph.inferShapeFunc = InferShape;
    CHECK_OPERATION_STATUS_RETURN(AddOperations(param, graph));
    CREATE_OPERATION(graph, operation);
    return atb::NO_ERROR;
}

}  // namespace decoder_layer
}  // namespace gemma2forcausallm
}  // namespace atb_speed
