// A graph of operations as one operation.
#pragma once

#include <ATen/core/Tensor.h>

#include <set>
#include <string>
#include <vector>

#include "core/kernel_operation.h"

namespace atb_host {

class GraphOperation : public HostOperation {
public:
    /// Checks the graph and takes over the operations of its nodes.
    explicit GraphOperation(const atb::GraphParam &param);
    ~GraphOperation() override;

    std::string GetName() const override { return param_.name; }
    uint32_t GetInputNum() const override { return param_.inTensorNum; }
    uint32_t GetOutputNum() const override { return param_.outTensorNum; }
    atb::Status InferShape(const atb::SVector<atb::TensorDesc> &inTensorDescs,
                           atb::SVector<atb::TensorDesc> &outTensorDescs) const override;
    atb::Status Setup(const atb::VariantPack &variantPack, uint64_t &workspaceSize,
                      atb::Context *context) override;
    atb::Status Execute(const atb::VariantPack &variantPack, uint8_t *workspace,
                        uint64_t workspaceSize, atb::Context *context) override;

    std::string Kind() const override { return "Graph"; }
    std::vector<int> InPlace() const override { return std::vector<int>(param_.outTensorNum, -1); }
    std::vector<int> Written() const override;
    bool MayOverwrite() const override { return false; }
    std::string OperandName(size_t position) const override;

private:
    /// `graph 'name', node 3 (Linear): `
    std::string Place(size_t node) const;
    /// The tensor of node `node` as its operation sees it.
    atb::TensorDesc Shown(size_t node, size_t position, const atb::TensorDesc &desc) const;
    std::vector<atb::TensorDesc> Plan(const atb::SVector<atb::TensorDesc> &inputs) const;
    void CheckInferShapeFunc(const atb::SVector<atb::TensorDesc> &inputs,
                             const std::vector<atb::TensorDesc> &all) const;
    void Run(const atb::VariantPack &pack, atb::Context *context);
    void RunNode(size_t index, const std::vector<atb::TensorDesc> &descs,
                 std::vector<atb::Tensor> *tensors, atb::Context *context);

    atb::GraphParam param_;
    std::vector<std::string> kinds_;
    /// The last node that reads each tensor.
    std::vector<size_t> last_read_;
    std::set<int> written_inputs_;
    bool ready_ = false;
};

}  // namespace atb_host
