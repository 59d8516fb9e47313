#include "core/graph.h"

#include <algorithm>

#include "core/graph_check.h"
#include "core/session.h"
#include "core/tensors.h"

namespace atb_host {

GraphOperation::GraphOperation(const atb::GraphParam &param)
    : param_(param), written_inputs_(CheckGraph(param)) {
    const size_t tensors = size_t{param.inTensorNum} + param.outTensorNum + param.internalTensorNum;
    last_read_.assign(tensors, 0);
    for (size_t i = 0; i < param.nodes.size(); ++i) {
        auto *host = dynamic_cast<HostOperation *>(param.nodes[i].operation);
        if (host != nullptr && !host->TakeOver()) {
            Fail(atb::ERROR_INVALID_GRAPH, PlaceOf(param, i),
                 "its operation is a node already; every node needs an operation of its own");
        }
        for (const uint32_t id : param.nodes[i].inTensorIds) {
            last_read_[id] = i;
        }
    }
}

GraphOperation::~GraphOperation() {
    for (const atb::Node &node : param_.nodes) {
        delete node.operation;
    }
}

std::vector<int> GraphOperation::Written() const {
    return {written_inputs_.begin(), written_inputs_.end()};
}

std::string GraphOperation::OperandName(size_t position) const { return Cat("input ", position); }

std::string GraphOperation::Place(size_t node) const { return PlaceOf(param_, node); }

atb::TensorDesc GraphOperation::Shown(size_t node, size_t position,
                                      const atb::TensorDesc &desc) const {
    const auto &functions = param_.nodes[node].inTensorReshapeFuncs;
    if (functions.empty() || functions.at(position) == nullptr) {
        return desc;
    }
    const Type old = TypeOf(desc, Cat(Place(node), "input ", position));
    atb::TensorDesc shown = desc;
    shown.shape = atb::Dims();
    std::fill(std::begin(shown.shape.dims), std::end(shown.shape.dims), -1);
    RunForeign(Cat(Place(node), "the reshape of input ", position, ": "),
               [&] { functions.at(position)(desc.shape, shown.shape); });
    const Type made = TypeOf(shown, Cat(Place(node), "input ", position, " after its reshape"));
    if (Volume(made.shape) != Volume(old.shape)) {
        Fail(atb::ERROR_GRAPH_NODE_RESHAPE_FUNC_FAIL, Place(node), "the reshape of input ",
             position, " makes ", Str(made), " of ", Str(old));
    }
    return shown;
}

std::vector<atb::TensorDesc> GraphOperation::Plan(
    const atb::SVector<atb::TensorDesc> &inputs) const {
    if (inputs.size() != param_.inTensorNum) {
        Fail(atb::ERROR_INVALID_IN_TENSOR_NUM, "graph '", param_.name, "': has ", inputs.size(),
             " inputs, wants ", param_.inTensorNum);
    }
    std::vector<atb::TensorDesc> all(inputs.begin(), inputs.end());
    all.resize(last_read_.size());
    for (size_t i = 0; i < param_.nodes.size(); ++i) {
        const atb::Node &node = param_.nodes[i];
        atb::SVector<atb::TensorDesc> ins;
        for (size_t j = 0; j < node.inTensorIds.size(); ++j) {
            ins.push_back(Shown(i, j, all[node.inTensorIds.at(j)]));
        }
        atb::SVector<atb::TensorDesc> outs(node.outTensorIds.size());
        Check(node.operation->InferShape(ins, outs), Place(i));
        for (size_t j = 0; j < outs.size(); ++j) {
            const uint32_t id = node.outTensorIds.at(j);
            const Type made = TypeOf(outs.at(j), Cat(Place(i), "output ", j));
            // What is written in place keeps its own shape, however the node saw it.
            if (id >= param_.inTensorNum) {
                all[id] = outs.at(j);
                continue;
            }
            const Type kept = TypeOf(all[id], Cat(Place(i), "output ", j));
            if (made.dtype != kept.dtype || Volume(made.shape) != Volume(kept.shape)) {
                Fail(atb::ERROR_INVALID_TENSOR_DIM, Place(i), "makes ", Str(made),
                     " in place of input ", id, ", which is ", Str(kept));
            }
        }
    }
    return all;
}

void GraphOperation::CheckInferShapeFunc(const atb::SVector<atb::TensorDesc> &inputs,
                                         const std::vector<atb::TensorDesc> &all) const {
    if (param_.inferShapeFunc == nullptr) {
        return;
    }
    const std::string graph = Cat("graph '", param_.name, "': ");
    atb::SVector<atb::TensorDesc> outs(param_.outTensorNum);
    const std::string place = graph + "inferShapeFunc: ";
    RunForeign(place, [&] { Check(param_.inferShapeFunc(inputs, outs), place); });
    if (outs.size() != param_.outTensorNum) {
        Fail(atb::ERROR_GRAPH_INFERSHAPE_FUNC_FAIL, graph, "inferShapeFunc gives ", outs.size(),
             " outputs, the graph has ", param_.outTensorNum);
    }
    for (size_t i = 0; i < outs.size(); ++i) {
        const Type told = TypeOf(outs.at(i), Cat(graph, "output ", i, " of inferShapeFunc"));
        const Type made = TypeOf(all[param_.inTensorNum + i], Cat(graph, "output ", i));
        if (told != made) {
            Fail(atb::ERROR_GRAPH_INFERSHAPE_FUNC_FAIL, graph, "inferShapeFunc says that output ",
                 i, " is ", Str(told), ", the nodes make ", Str(made));
        }
    }
}

atb::Status GraphOperation::InferShape(const atb::SVector<atb::TensorDesc> &inTensorDescs,
                                       atb::SVector<atb::TensorDesc> &outTensorDescs) const {
    return Guard([&] {
        const std::vector<atb::TensorDesc> all = Plan(inTensorDescs);
        CheckInferShapeFunc(inTensorDescs, all);
        outTensorDescs.resize(param_.outTensorNum);
        for (size_t i = 0; i < outTensorDescs.size(); ++i) {
            outTensorDescs.at(i) = all[param_.inTensorNum + i];
        }
    });
}

atb::Status GraphOperation::Setup(const atb::VariantPack &variantPack, uint64_t &workspaceSize,
                                  atb::Context *context) {
    (void)variantPack;
    (void)context;
    // Nodes are set up one by one while the graph runs, when their inputs exist.
    workspaceSize = 0;
    ready_ = true;
    return atb::NO_ERROR;
}

atb::Status GraphOperation::Execute(const atb::VariantPack &variantPack, uint8_t *workspace,
                                    uint64_t workspaceSize, atb::Context *context) {
    (void)workspace;
    (void)workspaceSize;
    return Guard([&] {
        Require(ready_, "graph '", param_.name, "' is executed without Setup");
        ready_ = false;
        Run(variantPack, context);
    });
}

void GraphOperation::Run(const atb::VariantPack &pack, atb::Context *context) {
    atb::SVector<atb::TensorDesc> inputs;
    for (const atb::Tensor &tensor : pack.inTensors) {
        inputs.push_back(tensor.desc);
    }
    const std::vector<atb::TensorDesc> descs = Plan(inputs);
    CheckInferShapeFunc(inputs, descs);
    const std::string graph = Cat("graph '", param_.name, "': ");
    if (pack.outTensors.size() != param_.outTensorNum) {
        Fail(atb::ERROR_INVALID_TENSOR_NUM, graph, "has ", pack.outTensors.size(),
             " outputs, wants ", param_.outTensorNum);
    }
    std::vector<atb::Tensor> tensors(pack.inTensors.begin(), pack.inTensors.end());
    tensors.resize(descs.size());
    for (size_t i = 0; i < pack.outTensors.size(); ++i) {
        const atb::Tensor &out = pack.outTensors.at(i);
        const std::string what = Cat(graph, "output ", i);
        const Type made = TypeOf(descs[param_.inTensorNum + i], what);
        if (TypeOf(out.desc, what) != made) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM, what, " is ", Str(TypeOf(out.desc, what)),
                 ", the graph makes ", Str(made));
        }
        tensors[param_.inTensorNum + i] = out;
    }
    std::vector<at::Tensor> held(descs.size());
    for (size_t i = 0; i < param_.nodes.size(); ++i) {
        for (const uint32_t id : param_.nodes[i].outTensorIds) {
            if (id >= param_.inTensorNum + param_.outTensorNum) {
                const Type type = TypeOf(descs[id], Cat(graph, "tensor ", id));
                held[id] = Allocate(type);
                tensors[id] = TensorOver(held[id], type);
            }
        }
        RunNode(i, descs, &tensors, context);
        for (const uint32_t id : param_.nodes[i].inTensorIds) {
            if (last_read_[id] == i) {
                held[id].reset();
            }
        }
    }
}

void GraphOperation::RunNode(size_t index, const std::vector<atb::TensorDesc> &descs,
                             std::vector<atb::Tensor> *tensors, atb::Context *context) {
    const atb::Node &node = param_.nodes[index];
    atb::VariantPack pack;
    for (size_t j = 0; j < node.inTensorIds.size(); ++j) {
        const uint32_t id = node.inTensorIds.at(j);
        pack.inTensors.push_back((*tensors)[id]);
        pack.inTensors.at(j).desc = Shown(index, j, descs[id]);
    }
    const auto *host = dynamic_cast<const HostOperation *>(node.operation);
    for (size_t j = 0; j < node.outTensorIds.size(); ++j) {
        pack.outTensors.push_back((*tensors)[node.outTensorIds.at(j)]);
        const int position = host == nullptr ? -1 : host->InPlace()[j];
        if (position >= 0) {
            pack.outTensors.at(j).desc = pack.inTensors.at(static_cast<size_t>(position)).desc;
        }
    }
    const NodeScope scope(param_.name, index);
    uint64_t workspace = 0;
    Check(node.operation->Setup(pack, workspace, context), Place(index));
    std::vector<uint8_t> memory(workspace);
    Check(node.operation->Execute(pack, memory.data(), workspace, context), Place(index));
}

}  // namespace atb_host

namespace atb {

template <>
Status CreateOperation(const GraphParam &opParam, Operation **operation) {
    return atb_host::Guard([&] {
        atb_host::Require(operation != nullptr, "graph '", opParam.name,
                          "': the operation pointer is null");
        *operation = new atb_host::GraphOperation(opParam);
    });
}

Status DestroyOperation(Operation *operation) {
    return atb_host::Guard([&] {
        atb_host::Require(operation != nullptr, "DestroyOperation is given no operation");
        delete operation;
    });
}

Status SetExecuteStreamId(Operation *operation, uint32_t streamId) {
    (void)streamId;
    return atb_host::Guard([&] {
        atb_host::Require(operation != nullptr, "SetExecuteStreamId is given no operation");
    });
}

uint32_t GetExecuteStreamId(Operation *operation) {
    (void)operation;
    return 0;
}

}  // namespace atb
