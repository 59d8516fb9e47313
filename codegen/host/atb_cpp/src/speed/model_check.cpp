#include "speed/model_check.h"

#include <algorithm>
#include <map>

#include "core/graph_check.h"
#include "core/kernel_operation.h"
#include "core/refusal.h"

namespace atb_host {
namespace {

using atb_speed::Model;

enum class Role { kWeight, kKeyCache, kValueCache, kInput, kOutput, kInternal };

/// A tensor of the model and what has happened to it so far.
struct State {
    Role role;
    std::string name;
    bool written = false;
    bool read = false;
};

bool IsGiven(Role role) { return role != Role::kOutput && role != Role::kInternal; }

bool IsCache(Role role) { return role == Role::kKeyCache || role == Role::kValueCache; }

class ModelChecker {
public:
    ModelChecker(const Model::Graph &graph, const std::string &name) : graph_(graph), name_(name) {
        Add(graph.weightTensors, Role::kWeight, "weight ");
        Add(graph.kCacheTensors, Role::kKeyCache, "key cache ");
        Add(graph.vCacheTensors, Role::kValueCache, "value cache ");
        Add(graph.inTensors, Role::kInput, "input ");
        Add(graph.outTensors, Role::kOutput, "output ");
        Add(graph.internalTensors, Role::kInternal, "internal tensor ");
    }

    void Check() {
        if (graph_.nodes.empty()) {
            Fail(atb::ERROR_INVALID_GRAPH, "model '", name_, "' has no nodes");
        }
        for (size_t i = 0; i < graph_.nodes.size(); ++i) {
            CheckNode(i);
        }
        for (const auto &[tensor, state] : states_) {
            if (!IsGiven(state.role) && !state.written) {
                Fail(atb::ERROR_INVALID_GRAPH, "model '", name_, "': ", state.name,
                     " is never written");
            }
            if (state.role == Role::kInternal && !state.read) {
                Fail(atb::ERROR_INVALID_GRAPH, "model '", name_, "': ", state.name,
                     " is never read");
            }
        }
    }

private:
    void Add(const std::vector<atb::Tensor> &tensors, Role role, const char *kind) {
        for (size_t i = 0; i < tensors.size(); ++i) {
            states_[&tensors[i]] = {role, Cat(kind, i)};
        }
    }

    template <typename... Parts>
    [[noreturn]] void FailAt(size_t index, const Parts &...parts) const {
        const auto &operation = graph_.nodes[index].operation;
        Fail(atb::ERROR_INVALID_GRAPH, "model '", name_, "', node ", index,
             operation == nullptr ? "" : Cat(" (", KindOf(*operation), ")"), ": ", parts...);
    }

    State &Find(size_t index, const atb::Tensor *tensor, const char *kind, size_t position) {
        const auto found = states_.find(tensor);
        if (found == states_.end()) {
            FailAt(index, kind, " ", position, " is ",
                   tensor == nullptr ? "null" : "no tensor of the model's graph");
        }
        return found->second;
    }

    void CheckNode(size_t index) {
        const Model::Node &node = graph_.nodes[index];
        if (node.operation == nullptr) {
            FailAt(index, "has no operation");
        }
        auto *host = dynamic_cast<HostOperation *>(node.operation.get());
        if (host != nullptr && !host->TakeOver()) {
            FailAt(index, "its operation is a node already; every node needs its own");
        }
        const size_t ins = node.operation->GetInputNum();
        const size_t outs = node.operation->GetOutputNum();
        if (node.inTensors.size() != ins || node.outTensors.size() != outs) {
            FailAt(index, "has ", node.inTensors.size(), " inputs and ", node.outTensors.size(),
                   " outputs, wants ", ins, " and ", outs);
        }
        if (!node.inTensorReshapeFuncs.empty() && node.inTensorReshapeFuncs.size() != ins) {
            FailAt(index, "has ", node.inTensorReshapeFuncs.size(), " inTensorReshapeFuncs for ",
                   ins, " inputs");
        }
        for (size_t i = 0; i < ins; ++i) {
            State &state = Find(index, node.inTensors[i], "input", i);
            if (!IsGiven(state.role) && !state.written) {
                FailAt(index, "reads ", state.name, ", which no node before it writes");
            }
            state.read = true;
        }
        CheckWritten(index, host);
        for (size_t i = 0; i < outs; ++i) {
            CheckOutput(index, i);
        }
    }

    void CheckWritten(size_t index, const HostOperation *host) {
        if (host == nullptr) {
            return;
        }
        const Model::Node &node = graph_.nodes[index];
        for (const int position : host->Written()) {
            const auto place = static_cast<size_t>(position);
            const State &state = Find(index, node.inTensors[place], "input", place);
            if (state.role == Role::kWeight || state.role == Role::kInput) {
                FailAt(index, "writes ", state.name, " in place");
            }
        }
    }

    void CheckOutput(size_t index, size_t position) {
        const Model::Node &node = graph_.nodes[index];
        const atb::Tensor *tensor = node.outTensors[position];
        State &state = Find(index, tensor, "output", position);
        if (IsGiven(state.role) && !IsCache(state.role)) {
            FailAt(index, "writes ", state.name);
        }
        // A node that reads an internal tensor may put its result under the same name.
        const bool renews =
            state.role == Role::kInternal &&
            std::find(node.inTensors.begin(), node.inTensors.end(), tensor) != node.inTensors.end();
        if (state.written && !renews && !IsCache(state.role)) {
            FailAt(index, "writes ", state.name, ", which an earlier node writes already");
        }
        state.written = true;
    }

    const Model::Graph &graph_;
    const std::string &name_;
    std::map<const atb::Tensor *, State> states_;
};

}  // namespace

void CheckModelGraph(const Model::Graph &graph, const std::string &name) {
    ModelChecker(graph, name).Check();
}

}  // namespace atb_host
