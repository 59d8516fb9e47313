// Communicators. Ranks on the CPU are threads that meet by rank count and domain, so model code
// must leave `hcclComm` null and name a domain instead.
#ifndef LLM_CODEGEN_ATB_COMM_H
#define LLM_CODEGEN_ATB_COMM_H

#include "atb/types.h"
#include "hccl/hccl_types.h"

#endif
