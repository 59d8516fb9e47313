#include "core/session.h"

namespace atb_host {
namespace {

thread_local Session *g_current = nullptr;

}  // namespace

Session &CurrentSession() {
    static thread_local Session outside;
    return g_current == nullptr ? outside : *g_current;
}

SessionScope::SessionScope(Session &session) : outer_(g_current) { g_current = &session; }

SessionScope::~SessionScope() { g_current = outer_; }

NodeScope::NodeScope(const std::string &graph, size_t index) {
    CurrentSession().path.push_back(static_cast<int32_t>(index));
    CurrentSession().graphs.push_back(graph);
}

NodeScope::~NodeScope() {
    CurrentSession().path.pop_back();
    CurrentSession().graphs.pop_back();
}

}  // namespace atb_host
