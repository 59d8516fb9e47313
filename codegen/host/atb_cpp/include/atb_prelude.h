// Precompiled for models: what all of them include.
#ifndef LLM_CODEGEN_ATB_PRELUDE_H
#define LLM_CODEGEN_ATB_PRELUDE_H

#include "atb/atb_infer.h"
#include "atb_speed/base/hosttensor_binder.h"
#include "atb_speed/base/model.h"
#include "atb_speed/log.h"
#include "atb_speed/utils/config.h"
#include "atb_speed/utils/model_factory.h"
#include "atb_speed/utils/operation_util.h"
#include "atb_speed/utils/singleton.h"
#include "atb_speed/utils/tensor_util.h"

#endif
