// Errors inside the runtime are exceptions; at ATB's functions they become a status, and their text
// is kept for the caller in this thread.
#pragma once

#include <exception>
#include <sstream>
#include <string>

#include "atb/types.h"

namespace atb_host {

/// Something that real ATB would refuse, crash on or silently compute wrongly.
class Refusal : public std::exception {
public:
    Refusal(atb::Status status, std::string message)
        : status_(status), message_(std::move(message)) {}

    const char *what() const noexcept override { return message_.c_str(); }
    atb::Status status() const { return status_; }

private:
    atb::Status status_;
    std::string message_;
};

/// Joins anything that can be printed.
template <typename... Parts>
std::string Cat(const Parts &...parts) {
    std::ostringstream text;
    (text << ... << parts);
    return text.str();
}

template <typename... Parts>
[[noreturn]] void Fail(atb::Status status, const Parts &...parts) {
    throw Refusal(status, Cat(parts...));
}

/// Fails with ERROR_INVALID_PARAM unless the condition holds.
template <typename... Parts>
void Require(bool holds, const Parts &...parts) {
    if (!holds) {
        Fail(atb::ERROR_INVALID_PARAM, parts...);
    }
}

/// The text of the failure that this thread's last call ended with; reading it clears it.
std::string TakeMessage();
/// Whether a failure was recorded and not read.
bool HasMessage();
void KeepMessage(const std::string &message);
/// The last error that model code logged; shown if nothing better is known.
void KeepLog(const std::string &message);

/// Records the exception that is being handled and gives its status.
atb::Status StatusOfException();

/// Runs a function; an exception becomes a status and a recorded message.
template <typename Function>
atb::Status Guard(Function &&function) {
    try {
        function();
        return atb::NO_ERROR;
    } catch (...) {
        return StatusOfException();
    }
}

/// Runs code of the model, whose own exceptions get a place in front.
template <typename Function>
void RunForeign(const std::string &place, Function &&function) {
    try {
        function();
    } catch (const Refusal &) {
        throw;
    } catch (const std::exception &error) {
        Fail(atb::ERROR_INTERNAL_ERROR, place, error.what());
    }
}

/// Turns a status that another operation returned back into an exception, with a place in front.
void Check(atb::Status status, const std::string &place);

}  // namespace atb_host
