#ifndef LLM_CODEGEN_ATB_ATB_INFER_H
#define LLM_CODEGEN_ATB_ATB_INFER_H

#include "atb/comm.h"
#include "atb/common_op_params.h"
#include "atb/context.h"
#include "atb/infer_op_params.h"
#include "atb/operation.h"
#include "atb/svector.h"
#include "atb/types.h"
#include "atb/utils.h"

#endif
