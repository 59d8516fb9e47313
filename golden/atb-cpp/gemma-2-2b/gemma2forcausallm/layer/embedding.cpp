#include "embedding.h"

#include "atb_speed/utils/operation_util.h"

namespace atb_speed {
namespace gemma2forcausallm {
namespace embedding {
namespace {

// embed_tokens: one row of the table for each token.
atb::Status AddEmbedTokens(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::GatherParam opParam;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {IN_MODEL_EMBED_TOKENS_WEIGHT, IN_INPUT_IDS};
    node.outTensorIds = {INTERMEDIATE_EMBED_TOKENS_OUT};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

// A constant factor of the model: 48.0.
atb::Status AddEmbedTokensMuls(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::ElewiseParam opParam;
    opParam.elewiseType = atb::infer::ElewiseParam::ElewiseType::ELEWISE_MULS;
    opParam.mulsParam.varAttr = 48.0F;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {INTERMEDIATE_EMBED_TOKENS_OUT};
    node.outTensorIds = {OUT_HIDDEN_STATES};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

atb::Status AddOperations(atb::GraphParam &graph)
{
    CHECK_OPERATION_STATUS_RETURN(AddEmbedTokens(graph));
    CHECK_OPERATION_STATUS_RETURN(AddEmbedTokensMuls(graph));
    return atb::NO_ERROR;
}

// Shapes of the results from those of the inputs.
atb::Status InferShape(const atb::SVector<atb::TensorDesc> &inTensorDescs,
                       atb::SVector<atb::TensorDesc> &outTensorDescs)
{
    const int64_t tokens = inTensorDescs.at(IN_INPUT_IDS).shape.dims[0];
    atb::TensorDesc &hiddenStates = outTensorDescs.at(0);
    hiddenStates.dtype = inTensorDescs.at(IN_MODEL_EMBED_TOKENS_WEIGHT).dtype;
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
    graph.name = param.isPrefill ? "gemma2forcausallm_embedding_prefill"
                                 : "gemma2forcausallm_embedding_decode";
    graph.inTensorNum = IN_TENSOR_COUNT;
    graph.outTensorNum = OUT_TENSOR_COUNT;
    graph.internalTensorNum = 1;
    graph.inferShapeFunc = InferShape;
    CHECK_OPERATION_STATUS_RETURN(AddOperations(graph));
    CREATE_OPERATION(graph, operation);
    return atb::NO_ERROR;
}

}  // namespace embedding
}  // namespace gemma2forcausallm
}  // namespace atb_speed
