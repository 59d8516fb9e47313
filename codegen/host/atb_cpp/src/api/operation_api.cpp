// Single operations for Python, to compare them with the dialect.
#include "api/c_api.h"
#include "api/convert.h"
#include "api/json_params.h"
#include "core/refusal.h"
#include "core/session.h"

namespace atb_host {
namespace {

struct SingleOperation {
    Session session;
    std::unique_ptr<atb::Operation> operation;
};

atb::SVector<atb::Tensor> Listed(const std::vector<atb::Tensor> &tensors) {
    atb::SVector<atb::Tensor> listed;
    for (const atb::Tensor &tensor : tensors) {
        listed.push_back(tensor);
    }
    return listed;
}

SingleOperation &Of(void *operation) { return *static_cast<SingleOperation *>(operation); }

}  // namespace
}  // namespace atb_host

using namespace atb_host;  // NOLINT: the C functions below are its face

extern "C" {

void *llmc_operation_create(const char *type, const char *json, int32_t precision) {
    auto made = std::make_unique<SingleOperation>();
    made->session.precision = static_cast<Precision>(precision);
    const int32_t status = Answer([&] {
        const SessionScope scope(made->session);
        made->operation = OperationFromJson(type, json);
    });
    return status == atb::NO_ERROR ? made.release() : nullptr;
}

void llmc_operation_destroy(void *operation) { delete static_cast<SingleOperation *>(operation); }

int32_t llmc_operation_infer(void *operation, const LlmcTensor *inputs, int32_t count,
                             LlmcTensor *outputs, int32_t room, int32_t *output_count) {
    return Answer([&] {
        SingleOperation &single = Of(operation);
        const SessionScope scope(single.session);
        atb::SVector<atb::TensorDesc> ins;
        for (const atb::Tensor &tensor : FromC(inputs, count, "input")) {
            ins.push_back(tensor.desc);
        }
        atb::SVector<atb::TensorDesc> outs(single.operation->GetOutputNum());
        Check(single.operation->InferShape(ins, outs), "");
        GiveDescs({outs.begin(), outs.end()}, outputs, room, output_count);
    });
}

int32_t llmc_operation_execute(void *operation, const LlmcTensor *inputs, int32_t count,
                               const LlmcTensor *outputs, int32_t output_count) {
    return Answer([&] {
        SingleOperation &single = Of(operation);
        const SessionScope scope(single.session);
        const atb::VariantPack pack = {Listed(FromC(inputs, count, "input")),
                                       Listed(FromC(outputs, output_count, "output"))};
        uint64_t workspace = 0;
        Check(single.operation->Setup(pack, workspace, nullptr), "");
        Check(single.operation->Execute(pack, nullptr, workspace, nullptr), "");
    });
}

}  // extern "C"
