#include "atb_speed/base/model.h"

#include <algorithm>

#include "atb_speed/utils/tensor_util.h"
#include "core/graph_check.h"
#include "core/refusal.h"
#include "core/session.h"
#include "core/types.h"
#include "speed/model_check.h"

namespace atb_speed {

using atb_host::Cat;
using atb_host::Fail;

void Model::Graph::Init() {
    const auto type_of = [this](const atb::Tensor *tensor) {
        const bool internal =
            std::any_of(internalTensors.begin(), internalTensors.end(),
                        [tensor](const atb::Tensor &other) { return &other == tensor; });
        return internal ? TensorType::INTERMEDIATE_TENSOR : TensorType::NOT_INTERMEDIATE_TENSOR;
    };
    for (Node &node : nodes) {
        node.variantPack.inTensors.resize(node.inTensors.size());
        node.variantPack.outTensors.resize(node.outTensors.size());
        node.inTensorTypes.clear();
        node.outTensorTypes.clear();
        for (const atb::Tensor *tensor : node.inTensors) {
            node.inTensorTypes.push_back(type_of(tensor));
        }
        for (const atb::Tensor *tensor : node.outTensors) {
            node.outTensorTypes.push_back(type_of(tensor));
        }
    }
}

std::string Model::Graph::ToString() const {
    std::ostringstream text;
    text << weightTensors.size() << " weights, " << kCacheTensors.size() << " layers of cache, "
         << inTensors.size() << " inputs, " << outTensors.size() << " outputs, "
         << internalTensors.size() << " internal tensors\n";
    for (size_t i = 0; i < nodes.size(); ++i) {
        text << "node " << i << " "
             << (nodes[i].operation == nullptr ? "none" : nodes[i].operation->GetName()) << "\n";
    }
    return text.str();
}

Model::Model(const std::string &modelName, const std::string &param)
    : modelName_(modelName), param_(param) {
    CHECK_THROW(param_.empty(), "the parameters of a model are empty");
    CHECK_THROW(param_.size() > MAX_PARAM_STRING_LENGTH, "the parameters of a model are too long");
    aclrtGetDevice(&currentDevId_);
}

Model::~Model() = default;

int64_t Model::Init(GetWorkspaceFunc getWorkSpaceFunc,
                    CreateTensorFromTensorDescFunc createTensorFromTensorDescFunc,
                    RunTaskFunc runTaskFunc) {
    getWorkSpaceFunc_ = std::move(getWorkSpaceFunc);
    createTensorFromTensorDescFunc_ = std::move(createTensorFromTensorDescFunc);
    runTaskFunc_ = std::move(runTaskFunc);
    const int64_t status = BuildGraph();
    if (status != atb::NO_ERROR) {
        return status;
    }
    CheckGraph();
    graph_.Init();
    return atb::NO_ERROR;
}

void Model::CheckGraph() const { atb_host::CheckModelGraph(graph_, modelName_); }

atb::Status Model::SkipEvent(bool isSkipEvent) {
    (void)isSkipEvent;
    return atb::NO_ERROR;
}

atb::Status Model::SetNodeStreamId(Node &node, uint32_t streamId) const {
    node.streamId = streamId;
    return atb::SetExecuteStreamId(node.operation.get(), streamId);
}

int64_t Model::SetWeight(const std::vector<atb::Tensor> &weightTensors) {
    if (weightTensors.size() != graph_.weightTensors.size()) {
        Fail(atb::ERROR_INVALID_IN_TENSOR_NUM, "model '", modelName_, "' is given ",
             weightTensors.size(), " weights, wants ", graph_.weightTensors.size());
    }
    graph_.weightTensors = weightTensors;
    weightsSet_ = true;
    return atb::NO_ERROR;
}

int64_t Model::SetKVCache(const std::vector<atb::Tensor> &kCacheTensors,
                          const std::vector<atb::Tensor> &vCacheTensors) {
    const size_t layers = graph_.kCacheTensors.size();
    if (kCacheTensors.size() != layers || vCacheTensors.size() != graph_.vCacheTensors.size()) {
        Fail(atb::ERROR_INVALID_IN_TENSOR_NUM, "model '", modelName_, "' is given ",
             kCacheTensors.size(), " key and ", vCacheTensors.size(), " value caches, wants ",
             layers, " and ", graph_.vCacheTensors.size());
    }
    graph_.kCacheTensors = kCacheTensors;
    graph_.vCacheTensors = vCacheTensors;
    cachesSet_ = true;
    return atb::NO_ERROR;
}

int64_t Model::SetWeightFormat(const uint64_t weightId) {
    if (weightId >= graph_.weightTensors.size()) {
        Fail(atb::ERROR_INVALID_PARAM, "model '", modelName_, "' has no weight ", weightId);
    }
    // The data stay as they are: the CPU has the ND format only.
    return atb::NO_ERROR;
}

int64_t Model::UpdateWeightsPtr(void *newWeightsPtr, int64_t oldWeightIds) {
    if (oldWeightIds < 0 || static_cast<size_t>(oldWeightIds) >= graph_.weightTensors.size()) {
        Fail(atb::ERROR_INVALID_PARAM, "model '", modelName_, "' has no weight ", oldWeightIds);
    }
    graph_.weightTensors.at(static_cast<size_t>(oldWeightIds)).deviceData = newWeightsPtr;
    return atb::NO_ERROR;
}

void Model::ClearInternalTensors() {
    for (atb::Tensor &tensor : graph_.internalTensors) {
        tensor = atb::Tensor();
    }
}

void Model::ResetExecutionStatus() {}

atb::Status Model::ParseParam(const std::string &param) {
    (void)param;
    return atb::NO_ERROR;
}

atb::Status Model::BindParamHostTensor(uint32_t nodeId) {
    (void)nodeId;
    return atb::NO_ERROR;
}

atb::Status Model::Execute(atb::Context *context, std::vector<atb::Tensor> &inTensors,
                           std::vector<atb::Tensor> &outTensors, const std::string &param) {
    const std::string model = Cat("model '", modelName_, "': ");
    if (inTensors.size() != graph_.inTensors.size() ||
        outTensors.size() != graph_.outTensors.size()) {
        Fail(atb::ERROR_INVALID_GRAPH, model, "is given ", inTensors.size(), " inputs and ",
             outTensors.size(), " outputs, wants ", graph_.inTensors.size(), " and ",
             graph_.outTensors.size());
    }
    if (!weightsSet_ && !graph_.weightTensors.empty()) {
        Fail(atb::ERROR_INVALID_GRAPH, model, "is executed before set_weight");
    }
    if (!cachesSet_ && !graph_.kCacheTensors.empty()) {
        Fail(atb::ERROR_INVALID_GRAPH, model, "is executed before set_kv_cache");
    }
    atb_host::Check(ParseParam(param), model + "ParseParam: ");
    context_ = context;
    graph_.inTensors = inTensors;
    graph_.outTensors = outTensors;
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
        ExecuteNode(i);
    }
    ++executeCount_;
    ClearInternalTensors();
    return atb::NO_ERROR;
}

void Model::ExecuteNode(size_t nodeId) {
    Node &node = graph_.nodes.at(nodeId);
    const std::string place = Cat("model '", modelName_, "', node ", nodeId, " (",
                                  atb_host::KindOf(*node.operation), "): ");
    try {
        BuildNodeVariantPack(static_cast<int>(nodeId));
        atb_host::Check(BindParamHostTensor(static_cast<uint32_t>(nodeId)),
                        "BindParamHostTensor: ");
        const atb_host::NodeScope scope("", nodeId);
        atb_host::Check(node.operation->Setup(node.variantPack, node.workspaceSize, context_), "");
        node.workspace = node.workspaceSize == 0
                             ? nullptr
                             : getWorkSpaceFunc_(node.workspaceSize, node.streamId);
        atb_host::Check(
            node.operation->Execute(node.variantPack, static_cast<uint8_t *>(node.workspace),
                                    node.workspaceSize, context_),
            "");
    } catch (const atb_host::Refusal &refusal) {
        Fail(refusal.status(), place, refusal.what());
    } catch (const std::exception &error) {
        Fail(atb::ERROR_INTERNAL_ERROR, place, error.what());
    }
}

void Model::BuildNodeVariantPack(int nodeId) {
    Node &node = graph_.nodes.at(static_cast<size_t>(nodeId));
    for (size_t i = 0; i < node.inTensors.size(); ++i) {
        node.variantPack.inTensors.at(i) = *node.inTensors.at(i);
    }
    ShapeInputs(node);
    atb::SVector<atb::TensorDesc> ins;
    for (const atb::Tensor &tensor : node.variantPack.inTensors) {
        ins.push_back(tensor.desc);
    }
    atb::SVector<atb::TensorDesc> outs(node.operation->GetOutputNum());
    atb_host::Check(node.operation->InferShape(ins, outs), "");
    for (size_t i = 0; i < node.outTensors.size(); ++i) {
        if (node.outTensorTypes.at(i) == TensorType::INTERMEDIATE_TENSOR) {
            *node.outTensors.at(i) = createTensorFromTensorDescFunc_(outs.at(i));
        }
        node.variantPack.outTensors.at(i) = *node.outTensors.at(i);
    }
}

void Model::ShapeInputs(Node &node) const {
    for (size_t i = 0; i < node.inTensorReshapeFuncs.size(); ++i) {
        if (node.inTensorReshapeFuncs.at(i) == nullptr) {
            continue;
        }
        atb::TensorDesc &desc = node.variantPack.inTensors.at(i).desc;
        const atb::Dims old = desc.shape;
        desc.shape = atb::Dims();
        std::fill(std::begin(desc.shape.dims), std::end(desc.shape.dims), -1);
        node.inTensorReshapeFuncs.at(i)(old, desc.shape);
        atb_host::TypeOf(desc, Cat("input ", i, " after its reshape"));
        atb::TensorDesc before = desc;
        before.shape = old;
        if (TensorUtil::GetTensorNumel(desc) != TensorUtil::GetTensorNumel(before)) {
            Fail(atb::ERROR_GRAPH_NODE_RESHAPE_FUNC_FAIL, "the reshape of input ", i, " makes ",
                 TensorUtil::TensorDescToString(desc), " of ",
                 TensorUtil::TensorDescToString(before));
        }
    }
}

}  // namespace atb_speed
