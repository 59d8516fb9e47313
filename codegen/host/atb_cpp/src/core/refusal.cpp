#include "core/refusal.h"

#include <c10/util/Exception.h>

namespace atb_host {
namespace {

thread_local std::string g_message;
thread_local std::string g_log;

}  // namespace

std::string TakeMessage() {
    std::string taken = g_message.empty() ? g_log : g_message;
    g_message.clear();
    g_log.clear();
    return taken;
}

bool HasMessage() { return !g_message.empty(); }

void KeepMessage(const std::string &message) { g_message = message; }

void KeepLog(const std::string &message) { g_log = message; }

atb::Status StatusOfException() {
    try {
        throw;
    } catch (const Refusal &refusal) {
        KeepMessage(refusal.what());
        return refusal.status();
    } catch (const c10::Error &error) {
        // Without the stack trace of ATen's own frames.
        KeepMessage(error.what_without_backtrace());
    } catch (const std::exception &error) {
        KeepMessage(error.what());
    } catch (...) {
        KeepMessage("model code threw something that is no std::exception");
    }
    return atb::ERROR_INTERNAL_ERROR;
}

void Check(atb::Status status, const std::string &place) {
    if (status == atb::NO_ERROR) {
        return;
    }
    std::string why = TakeMessage();
    if (why.empty()) {
        why = Cat("failed with status ", status);
    }
    Fail(status, place, why);
}

}  // namespace atb_host
