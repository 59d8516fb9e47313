// A kernel as an atb::Operation: checks, executes, rounds and reports.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "atb/operation.h"
#include "core/kernel.h"

namespace atb_host {

/// What graphs know about operations of this runtime beyond the interface of ATB.
class HostOperation : public atb::Operation {
public:
    /// Operation type, `Graph` for a graph.
    virtual std::string Kind() const = 0;
    /// For each result the position of the operand that it writes in place, -1 for a new tensor.
    virtual std::vector<int> InPlace() const = 0;
    /// Positions of operands that are written in place.
    virtual std::vector<int> Written() const = 0;
    /// Whether a result may overwrite an operand that is read.
    virtual bool MayOverwrite() const = 0;
    /// Operand name for messages.
    virtual std::string OperandName(size_t position) const = 0;

    /// A graph takes over its nodes' operations; false if another one did so before.
    bool TakeOver();

private:
    bool taken_ = false;
};

class KernelOperation : public HostOperation {
public:
    KernelOperation(std::string kind, std::unique_ptr<Kernel> kernel);

    std::string GetName() const override { return kind_ + "Operation"; }
    uint32_t GetInputNum() const override { return static_cast<uint32_t>(operands_.size()); }
    uint32_t GetOutputNum() const override { return kernel_->ResultCount(); }
    atb::Status InferShape(const atb::SVector<atb::TensorDesc> &inTensorDescs,
                           atb::SVector<atb::TensorDesc> &outTensorDescs) const override;
    atb::Status Setup(const atb::VariantPack &variantPack, uint64_t &workspaceSize,
                      atb::Context *context) override;
    atb::Status Execute(const atb::VariantPack &variantPack, uint8_t *workspace,
                        uint64_t workspaceSize, atb::Context *context) override;

    std::string Kind() const override { return kind_; }
    std::vector<int> InPlace() const override { return kernel_->InPlace(); }
    std::vector<int> Written() const override { return kernel_->Written(); }
    bool MayOverwrite() const override { return kernel_->MayOverwrite(); }
    std::string OperandName(size_t position) const override { return operands_[position].name; }

private:
    std::vector<Type> Plan(const atb::SVector<atb::TensorDesc> &descs, Types *types) const;
    void CheckElementTypes(const std::vector<Type> &types) const;
    void CheckPack(const atb::VariantPack &pack, const std::vector<Type> &results) const;
    void CheckHost(const atb::Tensor &tensor, const Operand &operand, const at::Tensor &view) const;
    void Run(const atb::VariantPack &pack) const;

    std::string kind_;
    std::unique_ptr<Kernel> kernel_;
    std::vector<Operand> operands_;
    bool ready_ = false;
};

}  // namespace atb_host
