// Models for Python: what ModelTorch is in MindIE.
#include "api/c_api.h"
#include "api/convert.h"
#include "atb_speed/utils/model_factory.h"
#include "core/group.h"
#include "core/refusal.h"
#include "core/session.h"
#include "core/tensors.h"
#include "speed/registry.h"

namespace atb_host {
namespace {

/// Passes what was executed on to Python.
class Forwarder : public Watcher {
public:
    void Tell(const Executed &executed) override {
        std::vector<LlmcTensor> outputs;
        for (const atb::Tensor &tensor : *executed.outputs) {
            outputs.push_back(ToC(tensor));
        }
        const int32_t answer =
            watch(executed.path.data(), static_cast<int32_t>(executed.path.size()),
                  executed.graph.c_str(), executed.kind.c_str(), outputs.data(),
                  static_cast<int32_t>(outputs.size()));
        Require(answer == 0, "the watcher failed");
    }

    LlmcWatch watch = nullptr;
};

class HostModel {
public:
    HostModel(std::string name, Precision precision) : name_(std::move(name)) {
        session_.precision = precision;
        atb::CreateContext(&context_);
    }

    ~HostModel() {
        // The model's code must not outlive its library, nor its groups its operations.
        model_.reset();
        atb::DestroyContext(context_);
    }

    void Watch(LlmcWatch watch) {
        forwarder_.watch = watch;
        session_.watcher = watch == nullptr ? nullptr : &forwarder_;
    }

    /// Runs a call in this model's session; a failure is told to the other ranks.
    template <typename Function>
    void Call(Function &&function) {
        const SessionScope scope(session_);
        try {
            function();
            if (HasMessage()) {  // a failure whose status model code ignored
                Fail(atb::ERROR_INTERNAL_ERROR, TakeMessage());
            }
        } catch (...) {
            const atb::Status status = StatusOfException();
            const std::string message = TakeMessage();
            session_.path.clear();
            session_.graphs.clear();
            held_.clear();
            AbortGroups(message);
            Fail(status, message);
        }
    }

    void AbortGroups(const std::string &reason) {
        for (size_t i = 0; i < session_.groups.size(); ++i) {
            session_.groups[i]->Abort(session_.ranks[i], reason);
        }
    }

    void SetParam(const std::string &param) {
        session_.groups.clear();
        session_.ranks.clear();
        model_.reset();
        std::shared_ptr<atb_speed::Model> made =
            atb_speed::ModelFactory::CreateInstance(name_, param);
        if (made == nullptr) {
            std::string known;
            for (const std::string &name : ModelNames()) {
                known += (known.empty() ? "" : ", ") + name;
            }
            Fail(atb::ERROR_INVALID_PARAM, "no model is registered as '", name_,
                 "'; registered: ", known);
        }
        const int64_t status = made->Init(
            [this](uint64_t size, uint32_t) {
                workspace_.resize(size);
                return static_cast<void *>(workspace_.data());
            },
            [this](const atb::TensorDesc &desc) {
                const Type type = TypeOf(desc, "an internal tensor");
                held_.push_back(Allocate(type));
                return TensorOver(held_.back(), type);
            });
        Check(static_cast<atb::Status>(status), Cat("model '", name_, "': BuildGraph: "));
        model_ = std::move(made);
    }

    atb_speed::Model &model() {
        Require(model_ != nullptr, "model '", name_, "': set_param must be called first");
        return *model_;
    }

    std::vector<atb::TensorDesc> Infer(const std::vector<atb::Tensor> &inputs) {
        std::vector<atb::TensorDesc> descs;
        for (const atb::Tensor &tensor : inputs) {
            descs.push_back(tensor.desc);
        }
        const std::string place = Cat("model '", name_, "': ");
        if (inputs.size() != model().GetInputNum()) {
            Fail(atb::ERROR_INVALID_IN_TENSOR_NUM, place, "is given ", inputs.size(),
                 " inputs, wants ", model().GetInputNum());
        }
        std::vector<atb::TensorDesc> outputs(model().GetOutputNum());
        Check(model().InferShape(descs, outputs), place + "InferShape: ");
        return outputs;
    }

    void Execute(std::vector<atb::Tensor> inputs, std::vector<atb::Tensor> outputs,
                 const std::string &param) {
        Check(model().Execute(context_, inputs, outputs, param), Cat("model '", name_, "': "));
        held_.clear();
    }

    const std::string &name() const { return name_; }

private:
    std::string name_;
    Session session_;
    Forwarder forwarder_;
    atb::Context *context_ = nullptr;
    std::shared_ptr<atb_speed::Model> model_;
    std::vector<at::Tensor> held_;
    std::vector<uint8_t> workspace_;
};

HostModel &Of(void *model) {
    Require(model != nullptr, "no model is given");
    return *static_cast<HostModel *>(model);
}

/// Runs a function with a model, in its session.
template <typename Function>
int32_t AnswerWith(void *model, Function &&function) {
    return Answer([&] {
        HostModel &host = Of(model);
        host.Call([&] { function(host); });
    });
}

}  // namespace
}  // namespace atb_host

using namespace atb_host;  // NOLINT: the C functions below are its face

extern "C" {

const char *llmc_message() {
    static thread_local std::string message;
    message = TakeMessage();
    return message.c_str();
}

void llmc_set_rank_timeout(double seconds) { Group::SetTimeout(seconds); }

void llmc_ranks_ended() { Group::ForgetFailures(); }

void llmc_ranks_failed(int32_t rank, const char *reason) { Group::AbortAll(rank, reason); }

void *llmc_library_open(const char *path) {
    void *library = nullptr;
    Answer([&] { library = OpenLibrary(path); });
    return library;
}

int32_t llmc_library_close(void *library) {
    return Answer([&] { CloseLibrary(library); });
}

const char *llmc_model_names() {
    static thread_local std::string names;
    names.clear();
    for (const std::string &name : ModelNames()) {
        names += name + "\n";
    }
    return names.c_str();
}

void *llmc_model_create(const char *name, int32_t precision) {
    return new HostModel(name, static_cast<Precision>(precision));
}

void llmc_model_destroy(void *model) { delete static_cast<HostModel *>(model); }

int32_t llmc_model_watch(void *model, LlmcWatch watch) {
    return Answer([&] { Of(model).Watch(watch); });
}

int32_t llmc_model_set_param(void *model, const char *param) {
    return AnswerWith(model, [&](HostModel &host) { host.SetParam(param); });
}

int32_t llmc_model_set_weight(void *model, const LlmcTensor *tensors, int32_t count) {
    return AnswerWith(
        model, [&](HostModel &host) { host.model().SetWeight(FromC(tensors, count, "weight")); });
}

int32_t llmc_model_set_kv_cache(void *model, const LlmcTensor *keys, int32_t key_count,
                                const LlmcTensor *values, int32_t value_count) {
    return AnswerWith(model, [&](HostModel &host) {
        host.model().SetKVCache(FromC(keys, key_count, "key cache"),
                                FromC(values, value_count, "value cache"));
    });
}

int32_t llmc_model_set_format_to_nz(void *model, int64_t weight) {
    return AnswerWith(model, [&](HostModel &host) {
        host.model().SetWeightFormat(static_cast<uint64_t>(weight));
    });
}

int32_t llmc_model_update_weight(void *model, const LlmcTensor *tensor, int64_t weight) {
    return AnswerWith(model, [&](HostModel &host) {
        host.model().UpdateWeightsPtr(FromC(*tensor, "weight").deviceData, weight);
    });
}

int32_t llmc_model_skip_event(void *model, int32_t skip) {
    return AnswerWith(model, [&](HostModel &host) { host.model().SkipEvent(skip != 0); });
}

int32_t llmc_model_clear_internal_tensors(void *model) {
    return AnswerWith(model, [&](HostModel &host) { host.model().ClearInternalTensors(); });
}

int32_t llmc_model_reset_execution_status(void *model) {
    return AnswerWith(model, [&](HostModel &host) { host.model().ResetExecutionStatus(); });
}

int32_t llmc_model_infer(void *model, const LlmcTensor *inputs, int32_t count, LlmcTensor *outputs,
                         int32_t room, int32_t *output_count) {
    return AnswerWith(model, [&](HostModel &host) {
        GiveDescs(host.Infer(FromC(inputs, count, "input")), outputs, room, output_count);
    });
}

int32_t llmc_model_execute(void *model, const LlmcTensor *inputs, int32_t count,
                           const LlmcTensor *outputs, int32_t output_count, const char *param) {
    return AnswerWith(model, [&](HostModel &host) {
        host.Execute(FromC(inputs, count, "input"), FromC(outputs, output_count, "output"), param);
    });
}

int32_t llmc_model_abort(void *model, const char *reason) {
    return Answer([&] { Of(model).AbortGroups(reason); });
}

}  // extern "C"
