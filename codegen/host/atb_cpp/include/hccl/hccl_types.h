// The handle of a communicator; on the CPU ranks meet in the process and no handle exists.
#ifndef LLM_CODEGEN_HCCL_HCCL_TYPES_H
#define LLM_CODEGEN_HCCL_HCCL_TYPES_H

using HcclComm = void *;

#endif
