// Operations: created from a parameter struct, given shapes, set up, executed.
#ifndef LLM_CODEGEN_ATB_OPERATION_H
#define LLM_CODEGEN_ATB_OPERATION_H

#include <cstdint>
#include <string>

#include "atb/context.h"
#include "atb/svector.h"
#include "atb/types.h"

namespace atb {

class Operation {
public:
    Operation() = default;
    virtual ~Operation() = default;

    virtual std::string GetName() const = 0;
    virtual Status InferShape(const SVector<TensorDesc> &inTensorDescs,
                              SVector<TensorDesc> &outTensorDescs) const = 0;
    virtual uint32_t GetInputNum() const = 0;
    virtual uint32_t GetOutputNum() const = 0;
    virtual Status Setup(const VariantPack &variantPack, uint64_t &workspaceSize,
                         Context *context) = 0;
    virtual Status Execute(const VariantPack &variantPack, uint8_t *workspace,
                           uint64_t workspaceSize, Context *context) = 0;
};

/// Defined for the parameter structs of `infer_op_params.h` and for `GraphParam`, which takes over
/// the operations of its nodes.
template <typename OpParam>
Status CreateOperation(const OpParam &opParam, Operation **operation);

Status DestroyOperation(Operation *operation);

/// The CPU has one stream: any id is accepted and nothing runs beside anything else.
Status SetExecuteStreamId(Operation *operation, uint32_t streamId);
uint32_t GetExecuteStreamId(Operation *operation);

}  // namespace atb

#endif
