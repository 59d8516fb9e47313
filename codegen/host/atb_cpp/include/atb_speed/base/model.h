// A model: its tensors, and the operations that run one after the other in a step.
#ifndef LLM_CODEGEN_ATB_SPEED_BASE_MODEL_H
#define LLM_CODEGEN_ATB_SPEED_BASE_MODEL_H

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "acl/acl.h"
#include "atb/context.h"
#include "atb/operation.h"
#include "atb_speed/utils/check_util.h"
#include "atb_speed/utils/operation_util.h"

namespace atb_speed {

/// Base of all models. A model overrides the pure virtual members and, where operations read
/// values on the host, ParseParam and BindParamHostTensor; its results are ready when Execute
/// returns.
class Model {
public:
    using ReshapeFunc = std::function<void(const atb::Dims &oldDims, atb::Dims &newDims)>;
    using GetWorkspaceFunc = std::function<void *(uint64_t bufferSize, uint32_t bufferKey)>;
    using CreateTensorFromTensorDescFunc =
        std::function<atb::Tensor(const atb::TensorDesc &tensorDesc)>;
    using Task = std::function<int()>;
    using RunTaskFunc = std::function<void(const std::string &taskName, Task task)>;

    enum class TensorType { INTERMEDIATE_TENSOR = 0, NOT_INTERMEDIATE_TENSOR };

    /// One operation. The pointers are to tensors of the same model's graph; writing an internal
    /// tensor that the node also reads makes a new tensor under the same name.
    struct Node {
        std::shared_ptr<atb::Operation> operation;
        std::vector<atb::Tensor *> inTensors;
        std::vector<atb::Tensor *> outTensors;
        atb::VariantPack variantPack;
        std::vector<ReshapeFunc> inTensorReshapeFuncs;
        atb::SVector<TensorType> inTensorTypes;
        atb::SVector<TensorType> outTensorTypes;
        uint32_t streamId = 0;
        uint64_t workspaceSize = 0;
        void *workspace = nullptr;
    };

    struct Graph {
        std::vector<atb::Tensor> weightTensors;
        std::vector<atb::Tensor> kCacheTensors;
        std::vector<atb::Tensor> vCacheTensors;
        std::vector<atb::Tensor> inTensors;
        std::vector<atb::Tensor> outTensors;
        std::vector<atb::Tensor> internalTensors;
        std::vector<Node> nodes;

        /// Completes the nodes once the graph is built.
        void Init();
        std::string ToString() const;
    };

    Model(const std::string &modelName, const std::string &param);
    virtual ~Model();

    int64_t Init(GetWorkspaceFunc getWorkSpaceFunc,
                 CreateTensorFromTensorDescFunc createTensorFromTensorDescFunc,
                 RunTaskFunc runTaskFunc = nullptr);

    virtual uint32_t GetInputNum() const = 0;
    virtual uint32_t GetOutputNum() const = 0;
    virtual atb::Status InferShape(const std::vector<atb::TensorDesc> &inTensorDescs,
                                   std::vector<atb::TensorDesc> &outTensorDescs) = 0;

    int64_t SetWeight(const std::vector<atb::Tensor> &weightTensors);
    int64_t SetWeightFormat(const uint64_t weightId);
    int64_t SetKVCache(const std::vector<atb::Tensor> &kCacheTensors,
                       const std::vector<atb::Tensor> &vCacheTensors);
    int64_t UpdateWeightsPtr(void *newWeightsPtr, int64_t oldWeightIds);
    atb::Status SkipEvent(bool isSkipEvent);
    atb::Status SetNodeStreamId(Node &node, uint32_t streamId) const;
    atb::Status Execute(atb::Context *context, std::vector<atb::Tensor> &inTensors,
                        std::vector<atb::Tensor> &outTensors, const std::string &param);
    void ClearInternalTensors();
    void ResetExecutionStatus();

protected:
    virtual int64_t BuildGraph() = 0;
    virtual atb::Status ParseParam(const std::string &param);
    virtual atb::Status BindParamHostTensor(uint32_t nodeId);
    virtual void BuildNodeVariantPack(int nodeId);

    GetWorkspaceFunc getWorkSpaceFunc_;
    CreateTensorFromTensorDescFunc createTensorFromTensorDescFunc_;
    RunTaskFunc runTaskFunc_ = nullptr;
    std::string modelName_;
    std::string param_;
    Graph graph_;
    uint64_t executeCount_ = 0;
    atb::Context *context_ = nullptr;
    int32_t currentDevId_ = 0;

private:
    void CheckGraph() const;
    void ShapeInputs(Node &node) const;
    void ExecuteNode(size_t nodeId);

    bool weightsSet_ = false;
    bool cachesSet_ = false;
};

const size_t MAX_PARAM_STRING_LENGTH = 200000;
const int MAX_PARAM_VALUE = 600000;
const int64_t MAX_VOCAB_SIZE = 10000000;

}  // namespace atb_speed

#define CHECK_THROW(condition, message)                     \
    do {                                                    \
        if (condition) {                                    \
            std::ostringstream checkThrowText;              \
            checkThrowText << message;                      \
            throw std::runtime_error(checkThrowText.str()); \
        }                                                   \
    } while (0)

#endif
