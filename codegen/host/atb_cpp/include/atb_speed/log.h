// Logging. Messages go to stderr only if LLM_CODEGEN_ATB_LOG asks for their level (DEBUG, INFO,
// WARN or ERROR); the last ERROR also becomes part of the message of a failed call.
#ifndef LLM_CODEGEN_ATB_SPEED_LOG_H
#define LLM_CODEGEN_ATB_SPEED_LOG_H

#include <sstream>
#include <string>

namespace atb_speed {

enum class LogSeverity : int { kDebug = 0, kInfo, kWarn, kError };

/// Whether anyone will see a message of this severity.
bool IsLogged(LogSeverity severity);
void WriteLog(LogSeverity severity, const std::string &message);

}  // namespace atb_speed

// A second argument, MindIE's error code, is accepted and not shown.
#define ATB_SPEED_LOG_AT(severity, message, ...)                    \
    do {                                                            \
        if (::atb_speed::IsLogged(severity)) {                      \
            std::ostringstream atbSpeedLogText;                     \
            atbSpeedLogText << message;                             \
            ::atb_speed::WriteLog(severity, atbSpeedLogText.str()); \
        }                                                           \
    } while (0)

#define ATB_SPEED_LOG_DEBUG(...) ATB_SPEED_LOG_AT(::atb_speed::LogSeverity::kDebug, __VA_ARGS__)
#define ATB_SPEED_LOG_INFO(...) ATB_SPEED_LOG_AT(::atb_speed::LogSeverity::kInfo, __VA_ARGS__)
#define ATB_SPEED_LOG_WARN(...) ATB_SPEED_LOG_AT(::atb_speed::LogSeverity::kWarn, __VA_ARGS__)
#define ATB_SPEED_LOG_ERROR(...) ATB_SPEED_LOG_AT(::atb_speed::LogSeverity::kError, __VA_ARGS__)

#endif
