// What a thread is executing: precision, place, who watches, which groups of ranks it belongs to.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "atb/types.h"

namespace atb_host {

class Group;

/// In a float32 run nothing is rounded and float32 stands for the half types.
enum class Precision : int { kFloat32 = 0, kFloat16 = 1, kBfloat16 = 2 };

/// What a watcher is told about one executed operation.
struct Executed {
    std::vector<int32_t> path;
    std::string graph;
    std::string kind;
    const atb::SVector<atb::Tensor> *outputs = nullptr;
};

class Watcher {
public:
    virtual ~Watcher() = default;
    virtual void Tell(const Executed &executed) = 0;
};

struct Session {
    Precision precision = Precision::kFloat32;
    Watcher *watcher = nullptr;
    /// Node index in the model, then in each nested graph.
    std::vector<int32_t> path;
    /// Names of the graphs around the current node.
    std::vector<std::string> graphs;
    /// Groups of the operations that were created in this session, and the rank in each.
    std::vector<std::shared_ptr<Group>> groups;
    std::vector<int> ranks;

    bool reference() const { return precision == Precision::kFloat32; }
};

/// The session of this thread; one with default values if none was entered.
Session &CurrentSession();

/// Makes a session the current one of this thread.
class SessionScope {
public:
    explicit SessionScope(Session &session);
    ~SessionScope();
    SessionScope(const SessionScope &) = delete;
    SessionScope &operator=(const SessionScope &) = delete;

private:
    Session *outer_;
};

/// Notes that a node of a graph is being executed.
class NodeScope {
public:
    NodeScope(const std::string &graph, size_t index);
    ~NodeScope();
    NodeScope(const NodeScope &) = delete;
    NodeScope &operator=(const NodeScope &) = delete;
};

}  // namespace atb_host
