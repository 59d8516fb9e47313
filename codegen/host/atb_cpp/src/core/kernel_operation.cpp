#include "core/kernel_operation.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstring>

#include "core/session.h"
#include "core/tensors.h"

namespace atb_host {

const DTypes kHalf = {ACL_FLOAT16, ACL_BF16};
const DTypes kFloat = {ACL_FLOAT16, ACL_BF16, ACL_FLOAT};
const DTypes kFloat16 = {ACL_FLOAT16};
const DTypes kFloat32 = {ACL_FLOAT};
const DTypes kInt8 = {ACL_INT8};
const DTypes kInt32 = {ACL_INT32};
const DTypes kInt64 = {ACL_INT64};

namespace {

bool Contains(const DTypes &dtypes, aclDataType dtype) {
    return std::find(dtypes.begin(), dtypes.end(), dtype) != dtypes.end();
}

std::string Names(const DTypes &dtypes) {
    std::string text;
    for (const aclDataType dtype : dtypes) {
        text += (text.empty() ? "" : ", ") + Str(dtype);
    }
    return text;
}

/// In a float32 run float32 stands for the half types.
bool Accepts(const DTypes &dtypes, aclDataType dtype) {
    const bool stands_in = CurrentSession().reference() && dtype == ACL_FLOAT &&
                           std::any_of(dtypes.begin(), dtypes.end(), IsHalf);
    return stands_in || Contains(dtypes, dtype);
}

/// The type of a tensor as it is held between operations.
Type Carried(Type type) {
    if (CurrentSession().reference() && IsHalf(type.dtype)) {
        type.dtype = ACL_FLOAT;
    }
    return type;
}

std::string JoinedText(const std::vector<std::string> &lines) {
    std::string text;
    for (const std::string &line : lines) {
        text += (text.empty() ? "" : "; ") + line;
    }
    return text;
}

}  // namespace

DTypes operator|(DTypes left, const DTypes &right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

std::vector<int> Kernel::Written() const {
    std::vector<int> written;
    for (const int position : InPlace()) {
        if (position >= 0) {
            written.push_back(position);
        }
    }
    return written;
}

bool HostOperation::TakeOver() {
    const bool first = !taken_;
    taken_ = true;
    return first;
}

atb::Operation *MakeOperation(std::string kind, std::unique_ptr<Kernel> kernel) {
    return new KernelOperation(std::move(kind), std::move(kernel));
}

KernelOperation::KernelOperation(std::string kind, std::unique_ptr<Kernel> kernel)
    : kind_(std::move(kind)), kernel_(std::move(kernel)), operands_(kernel_->Operands()) {}

atb::Status KernelOperation::InferShape(const atb::SVector<atb::TensorDesc> &inTensorDescs,
                                        atb::SVector<atb::TensorDesc> &outTensorDescs) const {
    return Guard([&] {
        Types types;
        const std::vector<Type> results = Plan(inTensorDescs, &types);
        outTensorDescs.resize(results.size());
        for (size_t i = 0; i < results.size(); ++i) {
            outTensorDescs.at(i) = DescOf(results[i]);
        }
    });
}

std::vector<Type> KernelOperation::Plan(const atb::SVector<atb::TensorDesc> &descs,
                                        Types *types) const {
    if (descs.size() != operands_.size()) {
        std::vector<std::string> names;
        for (const Operand &operand : operands_) {
            names.push_back(operand.name);
        }
        Fail(atb::ERROR_INVALID_IN_TENSOR_NUM, "has ", descs.size(), " inputs, wants ",
             operands_.size(), " (", JoinedText(names), ")");
    }
    std::vector<Type> found;
    for (size_t i = 0; i < operands_.size(); ++i) {
        found.push_back(TypeOf(descs.at(i), "operand " + operands_[i].name));
        types->Add(operands_[i].name, found.back());
    }
    CheckElementTypes(found);
    std::vector<Type> results = kernel_->Infer(*types);
    std::vector<std::string> problems;
    kernel_->Limits(*types, &problems);
    if (!problems.empty()) {
        Fail(atb::ERROR_INVALID_TENSOR_DIM, JoinedText(problems));
    }
    for (Type &result : results) {
        result = Carried(result);
    }
    return results;
}

void KernelOperation::CheckElementTypes(const std::vector<Type> &types) const {
    for (size_t i = 0; i < operands_.size(); ++i) {
        const Operand &operand = operands_[i];
        if (!Accepts(operand.dtypes, types[i].dtype)) {
            Fail(atb::ERROR_INVALID_TENSOR_DTYPE, "operand ", operand.name, " is ",
                 Str(types[i].dtype), ", allowed: ", Names(operand.dtypes));
        }
        for (size_t j = 0; j < i; ++j) {
            if (operands_[j].name == operand.like && types[j].dtype != types[i].dtype) {
                Fail(atb::ERROR_INVALID_TENSOR_DTYPE, "operand ", operand.name, " is ",
                     Str(types[i].dtype), ", must be ", Str(types[j].dtype), " as ", operand.like);
            }
        }
    }
}

atb::Status KernelOperation::Setup(const atb::VariantPack &variantPack, uint64_t &workspaceSize,
                                   atb::Context *context) {
    (void)context;
    return Guard([&] {
        atb::SVector<atb::TensorDesc> descs;
        for (const atb::Tensor &tensor : variantPack.inTensors) {
            descs.push_back(tensor.desc);
        }
        Types types;
        CheckPack(variantPack, Plan(descs, &types));
        workspaceSize = 0;
        ready_ = true;
    });
}

void KernelOperation::CheckPack(const atb::VariantPack &pack,
                                const std::vector<Type> &results) const {
    if (pack.outTensors.size() != results.size()) {
        Fail(atb::ERROR_INVALID_TENSOR_NUM, "has ", pack.outTensors.size(), " outputs, wants ",
             results.size());
    }
    const std::vector<int> in_place = kernel_->InPlace();
    for (size_t i = 0; i < results.size(); ++i) {
        const std::string what = Cat("output ", i);
        const atb::Tensor &out = pack.outTensors.at(i);
        const Type given = TypeOf(out.desc, what);
        if (given != results[i]) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM, what, " is ", Str(given), ", the operation makes ",
                 Str(results[i]));
        }
        ViewOf(out, what);
        if (in_place[i] >= 0) {
            const auto position = static_cast<size_t>(in_place[i]);
            if (pack.inTensors.at(position).deviceData != out.deviceData) {
                Fail(atb::ERROR_INVALID_TENSOR_ADDR, what, " must be operand ",
                     operands_[position].name, " itself, which is written in place");
            }
        }
    }
}

atb::Status KernelOperation::Execute(const atb::VariantPack &variantPack, uint8_t *workspace,
                                     uint64_t workspaceSize, atb::Context *context) {
    (void)workspace;
    (void)workspaceSize;
    (void)context;
    return Guard([&] {
        Require(ready_, "is executed without Setup");
        ready_ = false;
        Run(variantPack);
    });
}

void KernelOperation::CheckHost(const atb::Tensor &tensor, const Operand &operand,
                                const at::Tensor &view) const {
    if (tensor.hostData == nullptr) {
        Fail(atb::ERROR_INVALID_TENSOR_ADDR, "operand ", operand.name,
             " is read on the host, but has no hostData: bind it in BindParamHostTensor");
    }
    if (std::memcmp(tensor.hostData, view.data_ptr(), tensor.dataSize) != 0) {
        Fail(atb::ERROR_INVALID_PARAM, "operand ", operand.name,
             " has other values on the host than on the device: ",
             Str(TypeOf(tensor.desc, operand.name)));
    }
}

void KernelOperation::Run(const atb::VariantPack &pack) const {
    const at::NoGradGuard no_grad;
    atb::SVector<atb::TensorDesc> descs;
    for (const atb::Tensor &tensor : pack.inTensors) {
        descs.push_back(tensor.desc);
    }
    Types types;
    const std::vector<Type> results = Plan(descs, &types);
    CheckPack(pack, results);
    Tensors inputs;
    for (size_t i = 0; i < operands_.size(); ++i) {
        const atb::Tensor &tensor = pack.inTensors.at(i);
        at::Tensor view = ViewOf(tensor, "operand " + operands_[i].name);
        if (operands_[i].host) {
            CheckHost(tensor, operands_[i], view);
        }
        inputs.Add(operands_[i].name, std::move(view));
    }
    const std::vector<at::Tensor> values = kernel_->Evaluate(inputs, types);
    const std::vector<int> in_place = kernel_->InPlace();
    for (size_t i = 0; i < results.size(); ++i) {
        if (in_place[i] >= 0) {
            continue;
        }
        if (values.at(i).sizes() != at::IntArrayRef(results[i].shape)) {
            Fail(atb::ERROR_INTERNAL_ERROR, "made another shape than ", Str(results[i]));
        }
        ViewOf(pack.outTensors.at(i).deviceData, results[i]).copy_(values.at(i));
    }
    const Session &session = CurrentSession();
    if (session.watcher != nullptr) {
        const std::string graph = session.graphs.empty() ? "" : session.graphs.back();
        session.watcher->Tell({session.path, graph, kind_, &pack.outTensors});
    }
}

}  // namespace atb_host
