#include "core/graph_check.h"

#include <algorithm>
#include <cctype>

#include "core/kernel_operation.h"
#include "core/refusal.h"

namespace atb_host {
namespace {

constexpr size_t kMaxTensors = 256;
constexpr size_t kMaxNodes = 1024;
constexpr size_t kMaxName = 128;

bool IsGraphName(const std::string &name) {
    return !name.empty() && name.size() <= kMaxName &&
           std::all_of(name.begin(), name.end(), [](unsigned char letter) {
               return std::isalnum(letter) != 0 || letter == '_';
           });
}

/// Walks the nodes in order and keeps account of what is written and read.
class Checker {
public:
    explicit Checker(const atb::GraphParam &param)
        : param_(param), writer_(Total(), kNobody), read_(Total(), false) {}

    std::set<int> Check() {
        for (size_t i = 0; i < param_.nodes.size(); ++i) {
            CheckCounts(i);
            CheckReads(i);
            CheckWrites(i);
        }
        CheckCompleteness();
        return written_inputs_;
    }

private:
    static constexpr size_t kNobody = static_cast<size_t>(-1);

    size_t Total() const {
        return size_t{param_.inTensorNum} + param_.outTensorNum + param_.internalTensorNum;
    }

    bool IsInput(uint32_t id) const { return id < param_.inTensorNum; }

    std::string NameOf(size_t id) const {
        const size_t in = param_.inTensorNum;
        const size_t out = param_.outTensorNum;
        const char *kind = id < in ? "input" : id < in + out ? "output" : "internal tensor";
        const size_t index = id < in ? id : id < in + out ? id - in : id - in - out;
        return Cat("tensor ", id, " (", kind, " ", index, ")");
    }

    template <typename... Parts>
    [[noreturn]] void FailAt(size_t node, const Parts &...parts) const {
        Fail(atb::ERROR_INVALID_GRAPH, PlaceOf(param_, node), parts...);
    }

    void CheckCounts(size_t index) const {
        const atb::Node &node = param_.nodes[index];
        const size_t ins = node.inTensorIds.size();
        const size_t outs = node.outTensorIds.size();
        if (ins != node.operation->GetInputNum()) {
            FailAt(index, "has ", ins, " inputs, wants ", node.operation->GetInputNum());
        }
        if (outs != node.operation->GetOutputNum()) {
            FailAt(index, "has ", outs, " outputs, wants ", node.operation->GetOutputNum());
        }
        if (!node.inTensorReshapeFuncs.empty() && node.inTensorReshapeFuncs.size() != ins) {
            FailAt(index, "has ", node.inTensorReshapeFuncs.size(), " inTensorReshapeFuncs for ",
                   ins, " inputs");
        }
        if (!node.inTensorChunks.empty()) {
            FailAt(index, "has inTensorChunks, which the host runtime does not execute");
        }
    }

    void CheckReads(size_t index) {
        for (const uint32_t id : param_.nodes[index].inTensorIds) {
            CheckId(index, id);
            if (!IsInput(id) && writer_[id] == kNobody) {
                FailAt(index, "reads ", NameOf(id), ", which no node before it writes");
            }
            read_[id] = true;
        }
    }

    void CheckId(size_t index, uint32_t id) const {
        if (id >= Total()) {
            FailAt(index, "names tensor ", id, ", but the graph has ", Total(), " tensors");
        }
    }

    void CheckWrites(size_t index) {
        const atb::Node &node = param_.nodes[index];
        const auto *host = dynamic_cast<const HostOperation *>(node.operation);
        const std::vector<int> in_place =
            host == nullptr ? std::vector<int>(node.outTensorIds.size(), -1) : host->InPlace();
        for (size_t i = 0; i < node.outTensorIds.size(); ++i) {
            const uint32_t id = node.outTensorIds.at(i);
            CheckId(index, id);
            if (in_place[i] >= 0) {
                CheckInPlace(index, i, static_cast<size_t>(in_place[i]), *host);
            } else {
                CheckNew(index, id, host != nullptr && host->MayOverwrite());
            }
        }
        if (host != nullptr) {
            for (const int position : host->Written()) {
                MarkWritten(index, node.inTensorIds.at(static_cast<size_t>(position)));
            }
        }
    }

    void CheckInPlace(size_t index, size_t result, size_t operand,
                      const HostOperation &host) const {
        const atb::Node &node = param_.nodes[index];
        const uint32_t written = node.outTensorIds.at(result);
        const uint32_t cache = node.inTensorIds.at(operand);
        if (written != cache) {
            FailAt(index, "output ", result, " is ", NameOf(written), ", must be ", NameOf(cache),
                   ": operand ", host.OperandName(operand), " is written in place");
        }
    }

    void CheckNew(size_t index, uint32_t id, bool may_overwrite) {
        if (IsInput(id)) {
            const auto &ids = param_.nodes[index].inTensorIds;
            const bool reads = std::find(ids.begin(), ids.end(), id) != ids.end();
            if (reads && !may_overwrite) {
                FailAt(index, "writes ", NameOf(id), " while it reads it, which this operation ",
                       "cannot do");
            }
            written_inputs_.insert(static_cast<int>(id));
            return;
        }
        if (writer_[id] != kNobody) {
            FailAt(index, "writes ", NameOf(id), ", which node ", writer_[id], " writes already");
        }
        writer_[id] = index;
    }

    void MarkWritten(size_t index, uint32_t id) {
        if (!IsInput(id)) {
            FailAt(index, "writes ", NameOf(id),
                   " in place; only inputs of the graph can be written in place");
        }
        written_inputs_.insert(static_cast<int>(id));
    }

    void CheckCompleteness() const {
        for (size_t id = param_.inTensorNum; id < Total(); ++id) {
            const bool internal = id >= size_t{param_.inTensorNum} + param_.outTensorNum;
            if (writer_[id] == kNobody) {
                Fail(atb::ERROR_INVALID_GRAPH, "graph '", param_.name, "': ", NameOf(id),
                     " is never written");
            }
            if (internal && !read_[id]) {
                Fail(atb::ERROR_INVALID_GRAPH, "graph '", param_.name, "': ", NameOf(id),
                     ", which node ", writer_[id], " writes, is never read");
            }
        }
    }

    const atb::GraphParam &param_;
    std::vector<size_t> writer_;
    std::vector<bool> read_;
    std::set<int> written_inputs_;
};

}  // namespace

std::string KindOf(const atb::Operation &operation) {
    const auto *host = dynamic_cast<const HostOperation *>(&operation);
    return host == nullptr ? operation.GetName() : host->Kind();
}

std::string PlaceOf(const atb::GraphParam &param, size_t node) {
    const atb::Operation *operation = param.nodes[node].operation;
    const std::string kind = operation == nullptr ? "" : Cat(" (", KindOf(*operation), ")");
    return Cat("graph '", param.name, "', node ", node, kind, ": ");
}

std::set<int> CheckGraph(const atb::GraphParam &param) {
    const std::string graph = Cat("graph '", param.name, "': ");
    if (!IsGraphName(param.name)) {
        Fail(atb::ERROR_INVALID_GRAPH, graph,
             "the name must be 1 to 128 letters, digits and underscores");
    }
    if (param.nodes.empty()) {
        Fail(atb::ERROR_INVALID_GRAPH, graph, "has no nodes");
    }
    if (param.nodes.size() >= kMaxNodes) {
        Fail(atb::ERROR_INVALID_GRAPH, graph, "has ", param.nodes.size(),
             " nodes, there must be fewer than ", kMaxNodes);
    }
    for (const auto &[kind, count] :
         {std::pair("input", param.inTensorNum), std::pair("output", param.outTensorNum),
          std::pair("internal", param.internalTensorNum)}) {
        if (count > kMaxTensors) {
            Fail(atb::ERROR_INVALID_GRAPH, graph, "has ", count, " ", kind, " tensors, limit ",
                 kMaxTensors);
        }
    }
    for (size_t i = 0; i < param.nodes.size(); ++i) {
        if (param.nodes[i].operation == nullptr) {
            Fail(atb::ERROR_INVALID_GRAPH, PlaceOf(param, i), "has no operation");
        }
    }
    return Checker(param).Check();
}

}  // namespace atb_host
