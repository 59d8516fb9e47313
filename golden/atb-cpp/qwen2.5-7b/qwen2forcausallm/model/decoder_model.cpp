#include "decoder_model.h"

#include "nlohmann/json.hpp"

#include "../layer/embedding.h"
#include "../layer/decoder_layer.h"
#include "../layer/head.h"

namespace atb_speed {
namespace qwen2forcausallm {

REGISTER_MODEL(qwen2forcausallm, DecoderModel);

namespace {

// What the caller gives in every step, in this order.
enum DecoderModelTensorId : uint32_t {
    IN_INPUT_IDS = 0,
    IN_SEQ_LENS,
    IN_SLOTS,
    IN_COS,
    IN_SIN,
    IN_CAUSAL_MASK,
    IN_BLOCK_TABLES,
    IN_CONTEXT_LENS,
    IN_LM_HEAD_INDICES,
    IN_TENSOR_COUNT,
};

enum DecoderModelOutTensorId : uint32_t {
    OUT_LOGITS = 0,
    OUT_TENSOR_COUNT,
};

constexpr size_t WEIGHT_COUNT = 199;
constexpr size_t CACHE_COUNT = 28;
// The hidden states between two stages.
constexpr size_t HIDDEN_STATES_COUNT = 30;
constexpr int64_t VOCAB_SIZE = 152064;

}  // namespace

DecoderModel::DecoderModel(const std::string &param)
    : atb_speed::Model("qwen2forcausallm_DecoderModel", param)
{
    param_.FromString(param);
}

uint32_t DecoderModel::GetInputNum() const
{
    return IN_TENSOR_COUNT;
}

uint32_t DecoderModel::GetOutputNum() const
{
    return OUT_TENSOR_COUNT;
}

atb::Status DecoderModel::InferShape(const std::vector<atb::TensorDesc> &inTensorDescs,
                                     std::vector<atb::TensorDesc> &outTensorDescs)
{
    if (inTensorDescs.size() != IN_TENSOR_COUNT || outTensorDescs.size() != OUT_TENSOR_COUNT) {
        return atb::ERROR_INVALID_IN_TENSOR_NUM;
    }
    const uint32_t rows = param_.isPrefill ? IN_LM_HEAD_INDICES : IN_INPUT_IDS;
    atb::TensorDesc &logits = outTensorDescs.at(OUT_LOGITS);
    logits.dtype = graph_.weightTensors.at(0).desc.dtype;
    logits.format = ACL_FORMAT_ND;
    logits.shape.dimNum = 2;
    logits.shape.dims[0] = inTensorDescs.at(rows).shape.dims[0];
    logits.shape.dims[1] = VOCAB_SIZE;
    return atb::NO_ERROR;
}

int64_t DecoderModel::BuildGraph()
{
    graph_.weightTensors.resize(WEIGHT_COUNT);
    graph_.kCacheTensors.resize(CACHE_COUNT);
    graph_.vCacheTensors.resize(CACHE_COUNT);
    graph_.inTensors.resize(IN_TENSOR_COUNT);
    graph_.outTensors.resize(OUT_TENSOR_COUNT);
    graph_.internalTensors.resize(HIDDEN_STATES_COUNT - (param_.isPrefill ? 0 : 1));

    CHECK_OPERATION_STATUS_RETURN(AddEmbedding());
    // 28 equal layers.
    for (int layer = 0; layer < 28; ++layer) {
        CHECK_OPERATION_STATUS_RETURN(AddDecoderLayer());
    }
    if (param_.isPrefill) {
        CHECK_OPERATION_STATUS_RETURN(AddSelectTokens());
    }
    CHECK_OPERATION_STATUS_RETURN(AddHead());
    return atb::NO_ERROR;
}

atb::Status DecoderModel::AddEmbedding()
{
    atb::Operation *operation = nullptr;
    CHECK_OPERATION_STATUS_RETURN(embedding::Create(param_, &operation));
    atb_speed::Model::Node node = NewNode(operation, embedding::WEIGHT_COUNT);
    const std::vector<atb::Tensor *> inputs = {
        &graph_.inTensors.at(IN_INPUT_IDS),
    };
    node.inTensors.insert(node.inTensors.end(), inputs.begin(), inputs.end());
    hiddenStates_ = NextHiddenStates();
    node.outTensors = {hiddenStates_};
    graph_.nodes.push_back(node);
    return atb::NO_ERROR;
}

atb::Status DecoderModel::AddDecoderLayer()
{
    atb::Operation *operation = nullptr;
    CHECK_OPERATION_STATUS_RETURN(decoder_layer::Create(param_, &operation));
    atb_speed::Model::Node node = NewNode(operation, decoder_layer::WEIGHT_COUNT);
    const std::vector<atb::Tensor *> inputs = {
        hiddenStates_,
        &graph_.inTensors.at(IN_COS),
        &graph_.inTensors.at(IN_SIN),
        &graph_.inTensors.at(IN_SEQ_LENS),
        &graph_.inTensors.at(IN_SLOTS),
        &graph_.kCacheTensors.at(nextCache_),
        &graph_.vCacheTensors.at(nextCache_),
        &graph_.inTensors.at(IN_CAUSAL_MASK),
        &graph_.inTensors.at(IN_BLOCK_TABLES),
        &graph_.inTensors.at(IN_CONTEXT_LENS),
    };
    node.inTensors.insert(node.inTensors.end(), inputs.begin(), inputs.end());
    hiddenStates_ = NextHiddenStates();
    node.outTensors = {hiddenStates_};
    nextCache_ += 1;
    graph_.nodes.push_back(node);
    return atb::NO_ERROR;
}

atb::Status DecoderModel::AddHead()
{
    atb::Operation *operation = nullptr;
    CHECK_OPERATION_STATUS_RETURN(head::Create(param_, &operation));
    atb_speed::Model::Node node = NewNode(operation, head::WEIGHT_COUNT);
    const std::vector<atb::Tensor *> inputs = {
        hiddenStates_,
    };
    node.inTensors.insert(node.inTensors.end(), inputs.begin(), inputs.end());
    node.outTensors = {&graph_.outTensors.at(OUT_LOGITS)};
    graph_.nodes.push_back(node);
    return atb::NO_ERROR;
}

atb::Status DecoderModel::AddSelectTokens()
{
    atb::infer::GatherParam gather;
    atb::Operation *operation = nullptr;
    CREATE_OPERATION(gather, &operation);
    atb_speed::Model::Node node = NewNode(operation, 0);
    node.inTensors = {hiddenStates_, &graph_.inTensors.at(IN_LM_HEAD_INDICES)};
    hiddenStates_ = NextHiddenStates();
    node.outTensors = {hiddenStates_};
    graph_.nodes.push_back(node);
    return atb::NO_ERROR;
}

atb_speed::Model::Node DecoderModel::NewNode(atb::Operation *operation, uint32_t weightCount)
{
    atb_speed::Model::Node node;
    node.operation.reset(operation);
    for (uint32_t i = 0; i < weightCount; ++i) {
        node.inTensors.push_back(&graph_.weightTensors.at(nextWeight_++));
    }
    return node;
}

atb::Tensor *DecoderModel::NextHiddenStates()
{
    return &graph_.internalTensors.at(nextHidden_++);
}

atb::Status DecoderModel::ParseParam(const std::string &param)
{
    const nlohmann::json json = nlohmann::json::parse(param);
    seqLens_ = json.at("seqLen").get<std::vector<int32_t>>();
    contextLens_ = json.at("contextLen").get<std::vector<int32_t>>();
    return atb::NO_ERROR;
}

atb::Status DecoderModel::BindParamHostTensor(uint32_t nodeId)
{
    atb_speed::Model::Node &node = graph_.nodes.at(nodeId);
    for (size_t i = 0; i < node.inTensors.size(); ++i) {
        if (node.inTensors.at(i) == &graph_.inTensors.at(IN_SEQ_LENS)) {
            node.variantPack.inTensors.at(i).hostData = seqLens_.data();
        }
        if (node.inTensors.at(i) == &graph_.inTensors.at(IN_CONTEXT_LENS)) {
            node.variantPack.inTensors.at(i).hostData = contextLens_.data();
        }
    }
    return atb::NO_ERROR;
}

}  // namespace qwen2forcausallm
}  // namespace atb_speed
