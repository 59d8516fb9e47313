// Parameters that both inference and training operations use.
#ifndef LLM_CODEGEN_ATB_COMMON_OP_PARAMS_H
#define LLM_CODEGEN_ATB_COMMON_OP_PARAMS_H

#include <cstdint>

#include "acl/acl.h"
#include "atb/types.h"

namespace atb {
namespace common {

/// Orders streams. It exists so that code compiles; on the CPU it cannot become an operation.
struct EventParam {
    enum OperatorType : int { UNDEFINED = 0, RECORD, WAIT };
    aclrtEvent event;
    OperatorType operatorType = UNDEFINED;
    uint8_t rsv[16] = {0};
};

}  // namespace common
}  // namespace atb

#endif
