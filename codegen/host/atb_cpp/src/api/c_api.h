// The C interface that Python calls. Every function that can fail returns 0 or a status (or a null
// pointer); `llmc_message` then says why. Nothing throws across it.
#pragma once

#include <cstdint>

extern "C" {

/// A tensor that the caller owns: contiguous, on the CPU.
struct LlmcTensor {
    int32_t dtype;
    int32_t rank;
    int64_t dims[8];
    void *data;
    uint64_t bytes;
    /// Values that operations read on the host; only for single operations.
    void *host;
};

/// Told after each executed operation; anything but 0 ends the step.
/// `path` is the node's index in the model, then in each nested graph.
using LlmcWatch = int32_t (*)(const int32_t *path, int32_t depth, const char *graph,
                              const char *kind, const LlmcTensor *outputs, int32_t count);

/// Why the last call of this thread failed; valid until the next call.
const char *llmc_message();

void llmc_set_rank_timeout(double seconds);
/// No thread acts as a rank any more.
void llmc_ranks_ended();
/// One of them failed outside of this library: the others stop waiting for it.
void llmc_ranks_failed(int32_t rank, const char *reason);

void *llmc_library_open(const char *path);
int32_t llmc_library_close(void *library);
/// Registered model names, one a line; valid until the next call of this thread.
const char *llmc_model_names();

/// `precision`: 0 float32, 1 float16, 2 bfloat16. Never fails.
void *llmc_model_create(const char *name, int32_t precision);
void llmc_model_destroy(void *model);
int32_t llmc_model_watch(void *model, LlmcWatch watch);
int32_t llmc_model_set_param(void *model, const char *param);
int32_t llmc_model_set_weight(void *model, const LlmcTensor *tensors, int32_t count);
int32_t llmc_model_set_kv_cache(void *model, const LlmcTensor *keys, int32_t key_count,
                                const LlmcTensor *values, int32_t value_count);
int32_t llmc_model_set_format_to_nz(void *model, int64_t weight);
int32_t llmc_model_update_weight(void *model, const LlmcTensor *tensor, int64_t weight);
int32_t llmc_model_skip_event(void *model, int32_t skip);
int32_t llmc_model_clear_internal_tensors(void *model);
int32_t llmc_model_reset_execution_status(void *model);
/// Fills element types and shapes of the outputs; `room` is how many fit, `count` how many are.
int32_t llmc_model_infer(void *model, const LlmcTensor *inputs, int32_t count, LlmcTensor *outputs,
                         int32_t room, int32_t *output_count);
int32_t llmc_model_execute(void *model, const LlmcTensor *inputs, int32_t count,
                           const LlmcTensor *outputs, int32_t output_count, const char *param);
/// Tells the other ranks of the model's groups that this one failed outside of a call.
int32_t llmc_model_abort(void *model, const char *reason);

/// One operation from its type and parameters in the spelling of MindIE's registry.
void *llmc_operation_create(const char *type, const char *json, int32_t precision);
void llmc_operation_destroy(void *operation);
int32_t llmc_operation_infer(void *operation, const LlmcTensor *inputs, int32_t count,
                             LlmcTensor *outputs, int32_t room, int32_t *output_count);
int32_t llmc_operation_execute(void *operation, const LlmcTensor *inputs, int32_t count,
                               const LlmcTensor *outputs, int32_t output_count);
}
