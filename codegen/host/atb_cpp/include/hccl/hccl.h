#ifndef LLM_CODEGEN_HCCL_HCCL_H
#define LLM_CODEGEN_HCCL_HCCL_H

#include "hccl/hccl_types.h"

#endif
