#include "head.h"

#include "atb_speed/utils/operation_util.h"

namespace atb_speed {
namespace qwen3forcausallm {
namespace head {
namespace {

atb::ReshapeFunc ViewLogitRows()
{
    return [](const atb::Dims &oldShape, atb::Dims &newShape) {
        newShape.dimNum = 2;
        newShape.dims[0] = oldShape.dims[0];
        newShape.dims[1] = oldShape.dims[1] * oldShape.dims[2];
    };
}

// norm: RMSNorm of 4096 features.
atb::Status AddModelNorm(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::RmsNormParam opParam;
    opParam.layerType = atb::infer::RmsNormParam::RmsNormType::RMS_NORM_NORM;
    opParam.normParam.epsilon = 1e-06F;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {IN_HIDDEN_STATES, IN_MODEL_NORM_WEIGHT};
    node.outTensorIds = {INTERMEDIATE_NORM_OUT};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// lm_head: 4096 -> 151936 features.
atb::Status AddLmHead(const Param &param, atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::LinearParam opParam;
    opParam.hasBias = false;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_NORM_OUT, IN_LM_HEAD_WEIGHT};
    node.outTensorIds = {param.worldSize == 1 ? OUT_LOGITS : INTERMEDIATE_LOGITS_OF_RANK};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// The logits of all ranks: [ranks, tokens, logits of a rank].
atb::Status AddGatherLogits(const Param &param, atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::AllGatherParam opParam;
    opParam.rank = param.rank;
    opParam.rankSize = param.worldSize;
    opParam.backend = param.backend;
    opParam.rankTableFile = param.rankTableFile;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_LOGITS_OF_RANK};
    node.outTensorIds = {INTERMEDIATE_LOGITS_OF_RANKS};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Tokens in front: [tokens, ranks, logits of a rank].
atb::Status AddOrderLogits(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::TransposeParam opParam;
    opParam.perm = {1, 0, 2};
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_LOGITS_OF_RANKS};
    node.outTensorIds = {INTERMEDIATE_LOGITS_BY_TOKEN};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// Without the rows that fill up the last rank.
atb::Status AddCutLogits(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::SliceParam opParam;
    opParam.offsets = {0, 0};
    opParam.size = {-1, 151936};
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_LOGITS_BY_TOKEN};
    node.outTensorIds = {OUT_LOGITS};
    node.inTensorReshapeFuncs.resize(node.inTensorIds.size());
    node.inTensorReshapeFuncs.at(0) = ViewLogitRows();
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

atb::Status AddOperations(const Param &param, atb::GraphParam &graph)
{
    CHECK_OPERATION_STATUS_RETURN(AddModelNorm(graph));
    CHECK_OPERATION_STATUS_RETURN(AddLmHead(param, graph));
    if (param.worldSize > 1) {
        CHECK_OPERATION_STATUS_RETURN(AddGatherLogits(param, graph));
        CHECK_OPERATION_STATUS_RETURN(AddOrderLogits(graph));
        CHECK_OPERATION_STATUS_RETURN(AddCutLogits(graph));
    }
    return atb::NO_ERROR;
}

// Shapes of the results from those of the inputs.
atb::Status InferShape(const atb::SVector<atb::TensorDesc> &inTensorDescs,
                       atb::SVector<atb::TensorDesc> &outTensorDescs)
{
    const int64_t tokens = inTensorDescs.at(IN_HIDDEN_STATES).shape.dims[0];
    atb::TensorDesc &logits = outTensorDescs.at(0);
    logits.dtype = inTensorDescs.at(IN_HIDDEN_STATES).dtype;
    logits.format = ACL_FORMAT_ND;
    logits.shape.dimNum = 2;
    logits.shape.dims[0] = tokens;
    logits.shape.dims[1] = 151936;
    return atb::NO_ERROR;
}

}  // namespace

atb::Status Create(const Param &param, atb::Operation **operation)
{
    atb::GraphParam graph;
    graph.name = param.isPrefill ? "qwen3forcausallm_head_prefill" : "qwen3forcausallm_head_decode";
    graph.inTensorNum = IN_TENSOR_COUNT;
    graph.outTensorNum = OUT_TENSOR_COUNT;
    graph.internalTensorNum = param.worldSize == 1 ? 1 : 4;
    graph.inferShapeFunc = InferShape;
    CHECK_OPERATION_STATUS_RETURN(AddOperations(param, graph));
    CREATE_OPERATION(graph, operation);
    return atb::NO_ERROR;
}

}  // namespace head
}  // namespace qwen3forcausallm
}  // namespace atb_speed
