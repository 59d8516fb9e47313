#ifndef GEMMA2FORCAUSALLM_MODEL_DECODER_MODEL_H
#define GEMMA2FORCAUSALLM_MODEL_DECODER_MODEL_H

#include <string>
#include <vector>

#include "atb_speed/base/model.h"
#include "atb_speed/utils/model_factory.h"

#include "param.h"

namespace atb_speed {
namespace gemma2forcausallm {

// Gemma2ForCausalLM.
//
//   26 layers of 2 kinds
//   8 attention heads of size 256, sharing 4 key-value heads
//   vocabulary of 256000 tokens
//   element type bfloat16 (ATB computes in 16 bits; the checkpoint is float32)
//   rotary position embedding of 256 elements a head, halves paired
//   sliding window of 4096 tokens in 13 layers
class DecoderModel : public atb_speed::Model {
public:
    explicit DecoderModel(const std::string &param);
    ~DecoderModel() override = default;

    uint32_t GetInputNum() const override;
    uint32_t GetOutputNum() const override;
    atb::Status InferShape(const std::vector<atb::TensorDesc> &inTensorDescs,
                           std::vector<atb::TensorDesc> &outTensorDescs) override;

protected:
    int64_t BuildGraph() override;
    // Reads the parameters of one step.
    atb::Status ParseParam(const std::string &param) override;
    // Operations read the lengths of the sequences on the host.
    atb::Status BindParamHostTensor(uint32_t nodeId) override;

private:
    atb::Status AddEmbedding();
    atb::Status AddDecoderLayer();
    atb::Status AddDecoderLayer2();
    atb::Status AddHead();
    // Keeps the hidden states of the tokens whose logits are wanted.
    atb::Status AddSelectTokens();
    // Starts a node: its operation and the next weights.
    atb_speed::Model::Node NewNode(atb::Operation *operation, uint32_t weightCount);
    // The tensor that takes the hidden states behind the next stage.
    atb::Tensor *NextHiddenStates();

    Param param_;
    std::vector<int32_t> seqLens_;
    atb::Tensor *hiddenStates_ = nullptr;
    size_t nextHidden_ = 0;
    size_t nextWeight_ = 0;
    size_t nextCache_ = 0;
};

}  // namespace gemma2forcausallm
}  // namespace atb_speed

#endif
