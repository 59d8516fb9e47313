// Parameter structs of the inference operations, by family.
#ifndef LLM_CODEGEN_ATB_INFER_OP_PARAMS_H
#define LLM_CODEGEN_ATB_INFER_OP_PARAMS_H

#include "atb/params/attention_params.h"
#include "atb/params/cache_params.h"
#include "atb/params/collective_params.h"
#include "atb/params/elewise_params.h"
#include "atb/params/enums.h"
#include "atb/params/linear_params.h"
#include "atb/params/norm_params.h"
#include "atb/params/shape_params.h"

#endif
