// Models around the graphs, and models that are wrong themselves. The case is in the parameters.
#include <stdexcept>

#include "atb_speed/base/model.h"
#include "atb_speed/utils/model_factory.h"
#include "graphs.h"

namespace atb_speed {
namespace strict {

class StrictModel : public Model {
public:
    explicit StrictModel(const std::string &param)
        : Model("StrictModel", param), case_(nlohmann::json::parse(param).at("case")) {
        CHECK_THROW(case_ == "constructor", "the parameters are " << "not mine");
    }

    uint32_t GetInputNum() const override { return graph_.inTensors.size(); }
    uint32_t GetOutputNum() const override { return graph_.outTensors.size(); }

    atb::Status InferShape(const std::vector<atb::TensorDesc> &inTensorDescs,
                           std::vector<atb::TensorDesc> &outTensorDescs) override {
        outTensorDescs.at(0) = inTensorDescs.at(0);
        if (case_ == "infer_wrong") {
            outTensorDescs.at(0).shape.dims[0] = 1;
        }
        return case_ == "infer_refuses" ? atb::ERROR_INVALID_PARAM : atb::NO_ERROR;
    }

private:
    int64_t BuildGraph() override {
        graph_.outTensors.resize(1);
        const auto found = Cases().find(case_);
        if (found != Cases().end()) {
            const atb::GraphParam param = found->second();
            graph_.inTensors.resize(std::min<size_t>(param.inTensorNum, 8));
            atb::Operation *operation = nullptr;
            CHECK_OPERATION_STATUS_RETURN(atb::CreateOperation(param, &operation));
            Add(operation, Inputs(), {&graph_.outTensors.at(0)});
            return atb::NO_ERROR;
        }
        graph_.inTensors.resize(2);
        return BuildWrong();
    }

    int64_t BuildWrong() {
        atb::Tensor *out = &graph_.outTensors.at(0);
        atb::Tensor *x = &graph_.inTensors.at(0);
        graph_.internalTensors.resize(case_.rfind("internal", 0) == 0 ? 1 : 0);
        if (case_ == "rsv") {
            atb::infer::LinearParam linear;
            linear.rsv[3] = 1;
            return Refuse(linear);
        }
        if (case_ == "nested_rsv") {
            atb::infer::RmsNormParam norm;
            norm.layerType = atb::infer::RmsNormParam::RMS_NORM_NORM;
            norm.normParam.rsv[0] = 1;
            return Refuse(norm);
        }
        if (case_ == "sparse") {
            return Refuse(atb::infer::LinearSparseParam());
        }
        if (case_ == "ignored") {  // the status of a failure is thrown away
            atb::Operation *operation = nullptr;
            (void)atb::CreateOperation(atb::infer::RmsNormParam(), &operation);
        }
        if (case_ == "build_throws") {
            throw std::runtime_error("no such layer");
        }
        if (case_ == "build_status") {
            return atb::ERROR_INVALID_GRAPH;
        }
        if (case_ == "node_foreign") {
            static atb::Tensor foreign;
            Add(strict::Add(), {x, &foreign}, {out});
            return atb::NO_ERROR;
        }
        if (case_ == "node_null") {
            Add(strict::Add(), {x, nullptr}, {out});
            return atb::NO_ERROR;
        }
        if (case_ == "node_counts") {
            Add(strict::Add(), {x}, {out});
            return atb::NO_ERROR;
        }
        if (case_ == "node_empty") {
            Add(nullptr, {x}, {out});
            return atb::NO_ERROR;
        }
        if (case_ == "writes_input") {
            Add(strict::Add(), Inputs(), {x});
        }
        if (case_ == "internal_early") {
            Add(Swish(), {&graph_.internalTensors.at(0)}, {out});
            return atb::NO_ERROR;
        }
        if (case_ == "internal_unread") {
            Add(Swish(), {x}, {&graph_.internalTensors.at(0)});
        }
        if (case_ == "internal_twice") {
            Add(Swish(), {x}, {&graph_.internalTensors.at(0)});
            Add(Swish(), {x}, {&graph_.internalTensors.at(0)});
        }
        if (case_ == "output_twice") {
            Add(Swish(), {x}, {out});
        }
        if (case_ == "no_output") {
            graph_.internalTensors.resize(1);
            Add(Swish(), {x}, {&graph_.internalTensors.at(0)});
            Add(Swish(), {&graph_.internalTensors.at(0)}, {&graph_.internalTensors.at(0)});
            return atb::NO_ERROR;
        }
        if (case_ != "no_nodes") {
            Add(strict::Add(), Inputs(), {out});
        }
        return atb::NO_ERROR;
    }

    template <typename Param>
    int64_t Refuse(const Param &param) {
        atb::Operation *operation = nullptr;
        CREATE_OPERATION(param, &operation);
        return atb::NO_ERROR;
    }

    std::vector<atb::Tensor *> Inputs() {
        std::vector<atb::Tensor *> inputs;
        for (atb::Tensor &tensor : graph_.inTensors) {
            inputs.push_back(&tensor);
        }
        return inputs;
    }

    void Add(atb::Operation *operation, const std::vector<atb::Tensor *> &ins,
             const std::vector<atb::Tensor *> &outs) {
        Node node;
        node.operation.reset(operation);
        node.inTensors = ins;
        node.outTensors = outs;
        graph_.nodes.push_back(node);
    }

    atb::Status ParseParam(const std::string &param) override {
        CHECK_THROW(nlohmann::json::parse(param).contains("bad"), "the step is bad");
        return atb::NO_ERROR;
    }

    atb::Status BindParamHostTensor(uint32_t) override {
        return case_ == "bind" ? atb::ERROR_INVALID_PARAM : atb::NO_ERROR;
    }

    std::string case_;
};

REGISTER_MODEL(strict, StrictModel);

}  // namespace strict
}  // namespace atb_speed
