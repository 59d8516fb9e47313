#include "layer.h"

#include <cmath>

namespace atb_speed {
namespace toy {
namespace {

atb::Status AddNorm(const LayerParam &param, uint32_t input, uint32_t weight, uint32_t output,
                    atb::GraphParam &graph) {
    atb::infer::RmsNormParam norm;
    norm.layerType = atb::infer::RmsNormParam::RMS_NORM_NORM;
    norm.normParam.epsilon = param.epsilon;
    atb::Node node;
    CREATE_OPERATION(norm, &node.operation);
    node.inTensorIds = {input, weight};
    node.outTensorIds = {output};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

atb::Status AddLinear(uint32_t input, uint32_t weight, uint32_t output, atb::GraphParam &graph) {
    atb::infer::LinearParam linear;
    linear.hasBias = false;
    atb::Node node;
    CREATE_OPERATION(linear, &node.operation);
    node.inTensorIds = {input, weight};
    node.outTensorIds = {output};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

atb::Status AddRowParallel(const LayerParam &param, uint32_t input, uint32_t weight,
                           uint32_t output, atb::GraphParam &graph) {
    atb::infer::LinearParallelParam linear;
    linear.rank = param.rank;
    linear.rankSize = param.rankSize;
    linear.backend = "lccl";
    atb::Node node;
    CREATE_OPERATION(linear, &node.operation);
    node.inTensorIds = {input, weight};
    node.outTensorIds = {output};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

atb::Status AddAdd(uint32_t left, uint32_t right, uint32_t output, atb::GraphParam &graph) {
    atb::infer::ElewiseParam add;
    add.elewiseType = atb::infer::ElewiseParam::ELEWISE_ADD;
    atb::Node node;
    CREATE_OPERATION(add, &node.operation);
    node.inTensorIds = {left, right};
    node.outTensorIds = {output};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

/// Cuts `heads` heads out of the last dimension.
atb::ReshapeFunc CutHeads(int heads, int headDim) {
    return [heads, headDim](const atb::Dims &oldShape, atb::Dims &newShape) {
        newShape.dimNum = 3;
        newShape.dims[0] = oldShape.dims[0];
        newShape.dims[1] = heads;
        newShape.dims[2] = headDim;
    };
}

void JoinHeads(const atb::Dims &oldShape, atb::Dims &newShape) {
    newShape.dimNum = 2;
    newShape.dims[0] = oldShape.dims[0];
    newShape.dims[1] = oldShape.dims[1] * oldShape.dims[2];
}

atb::Status AddCachedAttention(const LayerParam &param, atb::GraphParam &graph) {
    const auto cutQ = CutHeads(param.headNum, param.headDim);
    const auto cutK = CutHeads(param.kvHeadNum, param.headDim);

    atb::infer::RopeParam rope;
    rope.rotaryCoeff = 2;
    atb::Node ropeNode;
    CREATE_OPERATION(rope, &ropeNode.operation);
    ropeNode.inTensorIds = {INTERNAL_Q, INTERNAL_K, IN_COS, IN_SIN, IN_SEQ_LEN};
    ropeNode.outTensorIds = {INTERNAL_Q_ROTATED, INTERNAL_K_ROTATED};
    graph.nodes.push_back(ropeNode);

    atb::infer::ReshapeAndCacheParam cache;
    atb::Node cacheNode;
    CREATE_OPERATION(cache, &cacheNode.operation);
    cacheNode.inTensorIds = {INTERNAL_K_ROTATED, INTERNAL_V, IN_K_CACHE, IN_V_CACHE, IN_SLOTS};
    cacheNode.outTensorIds = {IN_K_CACHE, IN_V_CACHE};
    cacheNode.inTensorReshapeFuncs = {cutK, cutK, nullptr, nullptr, nullptr};
    graph.nodes.push_back(cacheNode);

    const float scale = 1.0F / std::sqrt(static_cast<float>(param.headDim));
    atb::Node node;
    if (param.isPrefill) {
        atb::infer::SelfAttentionParam attention;
        attention.headNum = param.headNum;
        attention.kvHeadNum = param.kvHeadNum;
        attention.qkScale = scale;
        attention.calcType = atb::infer::SelfAttentionParam::PA_ENCODER;
        attention.maskType = atb::infer::SelfAttentionParam::MASK_TYPE_NORM;
        attention.isTriuMask = 1;
        CREATE_OPERATION(attention, &node.operation);
        node.inTensorIds = {INTERNAL_Q_ROTATED, INTERNAL_K_ROTATED, INTERNAL_V, IN_MASK,
                            IN_SEQ_LEN};
        node.inTensorReshapeFuncs = {cutQ, cutK, cutK, nullptr, nullptr};
    } else {
        atb::infer::PagedAttentionParam attention;
        attention.headNum = param.headNum;
        attention.kvHeadNum = param.kvHeadNum;
        attention.qkScale = scale;
        CREATE_OPERATION(attention, &node.operation);
        node.inTensorIds = {INTERNAL_Q_ROTATED, IN_K_CACHE, IN_V_CACHE, IN_BLOCK_TABLES,
                            IN_SEQ_LEN};
        node.inTensorReshapeFuncs = {cutQ, nullptr, nullptr, nullptr, nullptr};
    }
    node.outTensorIds = {INTERNAL_ATTENTION};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

atb::Status AddSwiGlu(atb::GraphParam &graph) {
    atb::infer::ActivationParam swiglu;
    swiglu.activationType = atb::infer::ACTIVATION_SWIGLU_FORWARD;
    atb::Node node;
    CREATE_OPERATION(swiglu, &node.operation);
    node.inTensorIds = {INTERNAL_GATE_UP};
    node.outTensorIds = {INTERNAL_ACTIVATED};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

}  // namespace

atb::Status CreateLayer(const LayerParam &param, atb::Operation **operation) {
    atb::GraphParam graph;
    graph.name = param.isPrefill ? "Prefill_layer" : "Decoder_layer";
    graph.inTensorNum = OUT_HIDDEN;
    graph.outTensorNum = 1;
    graph.internalTensorNum = TENSOR_COUNT - INTERNAL_NORMED;

    CHECK_OPERATION_STATUS_RETURN(
        AddNorm(param, IN_HIDDEN, IN_ATTENTION_NORM, INTERNAL_NORMED, graph));
    CHECK_OPERATION_STATUS_RETURN(AddLinear(INTERNAL_NORMED, IN_Q_WEIGHT, INTERNAL_Q, graph));
    CHECK_OPERATION_STATUS_RETURN(AddLinear(INTERNAL_NORMED, IN_K_WEIGHT, INTERNAL_K, graph));
    CHECK_OPERATION_STATUS_RETURN(AddLinear(INTERNAL_NORMED, IN_V_WEIGHT, INTERNAL_V, graph));
    CHECK_OPERATION_STATUS_RETURN(AddCachedAttention(param, graph));
    CHECK_OPERATION_STATUS_RETURN(
        AddRowParallel(param, INTERNAL_ATTENTION, IN_O_WEIGHT, INTERNAL_PROJECTED, graph));
    graph.nodes.back().inTensorReshapeFuncs = {JoinHeads, nullptr};
    CHECK_OPERATION_STATUS_RETURN(AddAdd(IN_HIDDEN, INTERNAL_PROJECTED, INTERNAL_RESIDUAL, graph));
    CHECK_OPERATION_STATUS_RETURN(
        AddNorm(param, INTERNAL_RESIDUAL, IN_MLP_NORM, INTERNAL_MLP_NORMED, graph));
    CHECK_OPERATION_STATUS_RETURN(
        AddLinear(INTERNAL_MLP_NORMED, IN_GATE_UP_WEIGHT, INTERNAL_GATE_UP, graph));
    CHECK_OPERATION_STATUS_RETURN(AddSwiGlu(graph));
    CHECK_OPERATION_STATUS_RETURN(
        AddRowParallel(param, INTERNAL_ACTIVATED, IN_DOWN_WEIGHT, INTERNAL_MLP, graph));
    CHECK_OPERATION_STATUS_RETURN(AddAdd(INTERNAL_RESIDUAL, INTERNAL_MLP, OUT_HIDDEN, graph));

    graph.inferShapeFunc = [](const atb::SVector<atb::TensorDesc> &inTensorDescs,
                              atb::SVector<atb::TensorDesc> &outTensorDescs) {
        outTensorDescs.at(0) = inTensorDescs.at(IN_HIDDEN);
        return atb::NO_ERROR;
    };
    return atb::CreateOperation(graph, operation);
}

}  // namespace toy
}  // namespace atb_speed
