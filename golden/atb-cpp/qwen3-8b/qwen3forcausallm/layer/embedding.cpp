#include "embedding.h"

#include "atb_speed/utils/operation_util.h"

namespace atb_speed {
namespace qwen3forcausallm {
namespace embedding {
namespace {

// embed_tokens: one row of the table for each token.
atb::Status AddEmbedTokens(atb::GraphParam &graph)
{
    atb::Node node;
    atb::infer::GatherParam opParam;
    CREATE_OPERATION(opParam, &node.operation);
    node.inTensorIds = {IN_MODEL_EMBED_TOKENS_WEIGHT, IN_INPUT_IDS};
    node.outTensorIds = {OUT_HIDDEN_STATES};
    graph.nodes.push_back(node);
    return atb::NO_ERROR;
}

atb::Status AddOperations(atb::GraphParam &graph)
{
    CHECK_OPERATION_STATUS_RETURN(AddEmbedTokens(graph));
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
    hiddenStates.shape.dims[1] = 4096;
    return atb::NO_ERROR;
}

}  // namespace

atb::Status Create(const Param &param, atb::Operation **operation)
{
    atb::GraphParam graph;
    graph.name = param.isPrefill ? "qwen3forcausallm_embedding_prefill"
                                 : "qwen3forcausallm_embedding_decode";
    graph.inTensorNum = IN_TENSOR_COUNT;
    graph.outTensorNum = OUT_TENSOR_COUNT;
    graph.internalTensorNum = 0;
    graph.inferShapeFunc = InferShape;
    CHECK_OPERATION_STATUS_RETURN(AddOperations(graph));
    CREATE_OPERATION(graph, operation);
    return atb::NO_ERROR;
}

}  // namespace embedding
}  // namespace qwen3forcausallm
}  // namespace atb_speed
