// Macros with which graph builders return at the first failure.
#ifndef LLM_CODEGEN_ATB_SPEED_UTILS_OPERATION_UTIL_H
#define LLM_CODEGEN_ATB_SPEED_UTILS_OPERATION_UTIL_H

#include "atb/atb_infer.h"
#include "atb_speed/log.h"

#define CHECK_OPERATION_STATUS_RETURN(atbStatus)         \
    do {                                                 \
        const ::atb::Status checkedStatus = (atbStatus); \
        if (checkedStatus != ::atb::NO_ERROR) {          \
            return checkedStatus;                        \
        }                                                \
    } while (0)

#define CREATE_OPERATION(param, operation) \
    CHECK_OPERATION_STATUS_RETURN(::atb::CreateOperation(param, operation))

#define ATB_SPEED_REFUSE_IF(condition, message) \
    do {                                        \
        if (condition) {                        \
            ATB_SPEED_LOG_ERROR(message);       \
            return ::atb::ERROR_INVALID_PARAM;  \
        }                                       \
    } while (0)

#define CHECK_PARAM_LT(param, threshold) \
    ATB_SPEED_REFUSE_IF((param) >= (threshold), #param " must be less than " << (threshold))
#define CHECK_PARAM_GT(param, threshold) \
    ATB_SPEED_REFUSE_IF((param) <= (threshold), #param " must be greater than " << (threshold))
#define CHECK_PARAM_NE(param, value) \
    ATB_SPEED_REFUSE_IF((param) == (value), #param " must not be " << (value))
#define CHECK_TENSORDESC_DIMNUM_VALID(dimNum)          \
    ATB_SPEED_REFUSE_IF((dimNum) > 8 || (dimNum) == 0, \
                        "a tensor has " << (dimNum) << " dimensions, must have 1 to 8")

#endif
