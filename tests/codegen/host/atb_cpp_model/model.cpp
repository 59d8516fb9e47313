// The test model: embedding, layers, final norm, head.
#include "atb_speed/base/model.h"

#include "atb_speed/utils/model_factory.h"
#include "layer.h"

namespace atb_speed {
namespace toy {

enum ModelInput : uint32_t {
    IN_IDS = 0,
    IN_POSITIONS,
    IN_COS_TABLE,
    IN_SIN_TABLE,
    IN_ATTENTION_MASK,
    IN_SLOT_MAPPING,
    IN_TABLES,
    IN_SEQUENCE_LENGTHS,
    INPUT_COUNT,
};

enum ModelInternal : uint32_t { INTERNAL_HIDDEN = 0, INTERNAL_COS, INTERNAL_SIN, INTERNAL_COUNT };

class ToyModel : public Model {
public:
    explicit ToyModel(const std::string &param) : Model("ToyModel", param) {
        const nlohmann::json json = nlohmann::json::parse(param);
        layers_ = CheckPositive(json.at("numHiddenLayers").get<int>());
        layer_.isPrefill = json.at("isPrefill").get<bool>();
        layer_.headNum = json.at("headNum").get<int>();
        layer_.kvHeadNum = json.at("kvHeadNum").get<int>();
        layer_.headDim = json.at("headDim").get<int>();
        layer_.epsilon = json.at("epsilon").get<float>();
        layer_.rank = json.value("rank", 0);
        layer_.rankSize = json.value("rankSize", 1);
    }

    uint32_t GetInputNum() const override { return graph_.inTensors.size(); }
    uint32_t GetOutputNum() const override { return graph_.outTensors.size(); }

    atb::Status InferShape(const std::vector<atb::TensorDesc> &inTensorDescs,
                           std::vector<atb::TensorDesc> &outTensorDescs) override {
        CHECK_TENSORDESC_DIMNUM_VALID(graph_.weightTensors.at(0).desc.shape.dimNum);
        outTensorDescs.at(0) = graph_.weightTensors.at(0).desc;
        outTensorDescs.at(0).shape.dimNum = 2;
        outTensorDescs.at(0).shape.dims[0] = inTensorDescs.at(IN_IDS).shape.dims[0];
        outTensorDescs.at(0).shape.dims[1] = graph_.weightTensors.back().desc.shape.dims[0];
        return atb::NO_ERROR;
    }

private:
    int64_t BuildGraph() override {
        graph_.inTensors.resize(INPUT_COUNT);
        graph_.outTensors.resize(1);
        graph_.internalTensors.resize(INTERNAL_COUNT);
        graph_.weightTensors.resize(1 + static_cast<size_t>(layers_) * LAYER_WEIGHTS + 2);
        graph_.kCacheTensors.resize(static_cast<size_t>(layers_));
        graph_.vCacheTensors.resize(static_cast<size_t>(layers_));
        CHECK_OPERATION_STATUS_RETURN(
            AddGather(&graph_.weightTensors.at(0), IN_IDS, INTERNAL_HIDDEN));
        CHECK_OPERATION_STATUS_RETURN(
            AddGather(&graph_.inTensors.at(IN_COS_TABLE), IN_POSITIONS, INTERNAL_COS));
        CHECK_OPERATION_STATUS_RETURN(
            AddGather(&graph_.inTensors.at(IN_SIN_TABLE), IN_POSITIONS, INTERNAL_SIN));
        for (int i = 0; i < layers_; ++i) {
            CHECK_OPERATION_STATUS_RETURN(AddLayer(static_cast<size_t>(i)));
        }
        return AddHead();
    }

    atb::Status AddGather(atb::Tensor *table, uint32_t indices, uint32_t output) {
        atb::infer::GatherParam gather;
        atb::Operation *operation = nullptr;
        CREATE_OPERATION(gather, &operation);
        Node node;
        node.operation.reset(operation);
        node.inTensors = {table, &graph_.inTensors.at(indices)};
        node.outTensors = {&graph_.internalTensors.at(output)};
        graph_.nodes.push_back(node);
        return atb::NO_ERROR;
    }

    atb::Status AddLayer(size_t index) {
        atb::Operation *operation = nullptr;
        CHECK_OPERATION_STATUS_RETURN(CreateLayer(layer_, &operation));
        Node node;
        node.operation.reset(operation);
        for (size_t i = 0; i < LAYER_WEIGHTS; ++i) {
            node.inTensors.push_back(&graph_.weightTensors.at(1 + index * LAYER_WEIGHTS + i));
        }
        atb::Tensor *hidden = &graph_.internalTensors.at(INTERNAL_HIDDEN);
        const std::vector<atb::Tensor *> others = {
            hidden,
            &graph_.internalTensors.at(INTERNAL_COS),
            &graph_.internalTensors.at(INTERNAL_SIN),
            &graph_.inTensors.at(IN_ATTENTION_MASK),
            &graph_.kCacheTensors.at(index),
            &graph_.vCacheTensors.at(index),
            &graph_.inTensors.at(IN_SLOT_MAPPING),
            &graph_.inTensors.at(IN_TABLES),
            &graph_.inTensors.at(IN_SEQUENCE_LENGTHS),
        };
        node.inTensors.insert(node.inTensors.end(), others.begin(), others.end());
        node.outTensors = {hidden};  // renewed by every layer, as MindIE does it
        layerNodes_.push_back(static_cast<uint32_t>(graph_.nodes.size()));
        graph_.nodes.push_back(node);
        return atb::NO_ERROR;
    }

    atb::Status AddHead() {
        atb::infer::RmsNormParam norm;
        norm.layerType = atb::infer::RmsNormParam::RMS_NORM_NORM;
        norm.normParam.epsilon = layer_.epsilon;
        atb::Operation *operation = nullptr;
        CREATE_OPERATION(norm, &operation);
        atb::Tensor *hidden = &graph_.internalTensors.at(INTERNAL_HIDDEN);
        const size_t last = graph_.weightTensors.size() - 1;
        Node normNode;
        normNode.operation.reset(operation);
        normNode.inTensors = {hidden, &graph_.weightTensors.at(last - 1)};
        normNode.outTensors = {hidden};
        graph_.nodes.push_back(normNode);

        atb::infer::LinearParam linear;
        linear.hasBias = false;
        CREATE_OPERATION(linear, &operation);
        Node headNode;
        headNode.operation.reset(operation);
        headNode.inTensors = {hidden, &graph_.weightTensors.at(last)};
        headNode.outTensors = {&graph_.outTensors.at(0)};
        graph_.nodes.push_back(headNode);
        return atb::NO_ERROR;
    }

    atb::Status ParseParam(const std::string &param) override {
        lengths_.clear();
        const nlohmann::json json = nlohmann::json::parse(param);
        for (const auto &length : json.at("seqLen")) {
            lengths_.push_back(length.get<int32_t>());
        }
        return atb::NO_ERROR;
    }

    atb::Status BindParamHostTensor(uint32_t nodeId) override {
        for (const uint32_t layer : layerNodes_) {
            if (layer == nodeId) {
                graph_.nodes.at(nodeId).variantPack.inTensors.at(IN_SEQ_LEN).hostData =
                    lengths_.data();
            }
        }
        return atb::NO_ERROR;
    }

    int layers_ = 0;
    LayerParam layer_;
    std::vector<uint32_t> layerNodes_;
    std::vector<int32_t> lengths_;
};

REGISTER_MODEL(toy, ToyModel);

}  // namespace toy
}  // namespace atb_speed
