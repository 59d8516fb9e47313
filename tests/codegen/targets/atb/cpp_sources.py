"""Small C++ models in both styles that MindIE has, written for these tests."""

from __future__ import annotations

from pathlib import Path

#: Inputs from an enumeration, parameters in a nested class, everything in one pair.
ENUM_HEADER = """
#pragma once
#include <nlohmann/json.hpp>
#include "atb_speed/base/model.h"
namespace atb_speed::small {
enum SmallTensorIdx : uint32_t {
    // what comes in
    IN_TENSOR_INPUT_IDS = 0,
    IN_TENSOR_POSITION_IDS, /* IN_TENSOR_DECOY, */
    IN_TENSOR_COS_TABLE,
    IN_TENSOR_SIN_TABLE,
    IN_TENSOR_BLOCK_TABLES,
    IN_TENSOR_SLOTS,
    IN_TENSOR_PLACE_HOLDER,
    IN_TENSOR_SEQ_LEN,
    IN_TENSOR_LOGITS_INDICES,
    IN_TENSOR_COUNT
};
enum OtherIdx : uint32_t { IN_OTHER = 0 };
class SmallModel : public Model {
public:
    struct Param {
        bool isPrefill = false;
        int numHiddenLayers = 0;
        float rmsNormEps = 0;
        std::vector<std::vector<int>> packQuantType = {};
        void FromString(const std::string &param);
        void ParseMore(const nlohmann::json &paramJson);
    };
    explicit SmallModel(const std::string &param);
private:
    int64_t BuildGraph() override;
    atb::Status ParseParam(const std::string &param) override;
    atb::Status BindParamHostTensor(uint32_t nodeId) override;
    Param param_;
    std::vector<int> seqLen_;
    uint32_t weightCountPerLayer = 50;
};
REGISTER_MODEL(small, SmallModel);
}
"""
ENUM_SOURCE = """
#include "model/small_model.h"
// REGISTER_MODEL(commented, Out);
namespace atb_speed::small {
const char *text = "REGISTER_MODEL(quoted, Text)";
static const uint64_t INPUTS = IN_TENSOR_COUNT;
void SmallModel::Param::FromString(const std::string &param)
{
    nlohmann::json paramJson = nlohmann::json::parse(param);
    isPrefill = paramJson["isPrefill"].get<bool>();
    numHiddenLayers = CheckPositive(paramJson["numHiddenLayers"].get<int>());
    for (auto item : paramJson["packQuantType"]) {
        packQuantType.push_back(item.get<std::vector<int>>());
    }
    if (paramJson.contains("rankTableFile")) {
        file = paramJson["rankTableFile"].get<std::string>();
    }
    if (paramJson.contains("enableLcoc")) {
        lcoc = paramJson["enableLcoc"].get<bool>();
    } else {
        lcoc = paramJson["supportLcoc"].get<bool>();
    }
    ParseMore(paramJson);
    if (isPrefill) { ParseRarely(paramJson); }
}
void SmallModel::Param::ParseMore(const nlohmann::json &paramJson)
{
    rmsNormEps = FetchJsonParam<float>(paramJson, "rmsNormEps");
    for (auto item : paramJson["linearTransposeType"]) {
        types.push_back(FetchJsonParam<std::vector<int>>(item, "linearTransposeType", true));
    }
    backend = paramJson.value("backend", "hccl");
}
SmallModel::SmallModel(const std::string &param) : Model("SmallModel", param) {
    param_.FromString(param);
}
int64_t SmallModel::BuildGraph()
{
    graph_.inTensors.resize(INPUTS);
    node.inTensors = {
        &graph_.inTensors.at(IN_TENSOR_INPUT_IDS), &graph_.inTensors.at(IN_TENSOR_PLACE_HOLDER)};
    return atb::NO_ERROR;
}
atb::Status SmallModel::ParseParam(const std::string &param)
{
    nlohmann::json paramJson = nlohmann::json::parse(param);
    seqLen_.clear();
    for (auto item : paramJson["seqLen"]) {
        int seqLen = item.get<int>();
        seqLen_.push_back(seqLen);
    }
    return atb::NO_ERROR;
}
atb::Status SmallModel::BindParamHostTensor(uint32_t nodeId)
{
    const uint32_t seqLenTensorId = LayerIdx::IN_SEQ_LEN;
    graph_.nodes.at(nodeId).variantPack.inTensors.at(seqLenTensorId).hostData = seqLen_.data();
    graph_.nodes.at(nodeId).variantPack.inTensors.at(LayerIdx::IN_HOLES).hostData = seqLen_.data();
    return atb::NO_ERROR;
}
}
"""

#: A base with tables of names, as MindIE's, and a model that derives from it.
BASE_PARAM = """
namespace atb_speed { namespace base {
enum PositionEmbeddingType : uint32_t { ROPE = 0, ALIBI };
class ModelParam {
public:
    void FromString(const std::string &param)
    {
        nlohmann::json paramJson = StringToJson(param);
        ParseParam(paramJson);
    }
    bool skipWordEmbedding = false;
    bool enableLora = false;
    bool isPrefill = false;
    bool enableSpeculate = false, enableSplitFuse = false;
    uint32_t numHiddenLayers = 0;
    PositionEmbeddingType positionEmbeddingType = PositionEmbeddingType::ROPE;
protected:
    virtual void ParseParam(const nlohmann::json &paramJson)
    {
        this->isPrefill = FetchJsonParam<bool>(paramJson, "isPrefill");
        this->numHiddenLayers = Check(FetchJsonParam<uint32_t>(paramJson, "numHiddenLayers"));
        if (paramJson.contains("skipWordEmbedding")) {
            this->skipWordEmbedding = FetchJsonParam<bool>(paramJson, "skipWordEmbedding");
        }
        if (paramJson.contains("enableSpeculate")) {
            this->enableSpeculate = FetchJsonParam<bool>(paramJson, "enableSpeculate");
        }
        if (paramJson.contains("enableLora")) { enableLora = paramJson["enableLora"].get<bool>(); }
        if (paramJson.contains("positionEmbeddingType")) {
            positionEmbeddingType =
                FetchJsonParam<PositionEmbeddingType>(paramJson, "positionEmbeddingType");
        }
    }
};
} }
"""
BASE_HEADER = """
#include "models/base/param/model_param.h"
namespace atb_speed {
namespace base {
class DecoderModel : public atb_speed::Model {
public:
    explicit DecoderModel(const std::string &param);
protected:
    int64_t BuildGraph() override;
    virtual void ConstructInTensorMap();
    atb::Status ParseParam(const std::string &paramString) override;
    atb::Status BindParamHostTensor(uint32_t nodeId) override;
    void ParseDapParam(nlohmann::json &paramJson);
    std::map<std::string, std::vector<std::string>> inTensorCandidates = {};
    std::map<std::string, uint32_t> inTensorMap = {};
    uint32_t weightCountPerLayer = 50;
    uint32_t weightCountWordEmbedding = 1;
    ModelParam param;
    std::vector<int> seqLen = {};
};
}
}
"""
BASE_SOURCE = """
#include "models/base/model/decoder_model.h"
namespace atb_speed {
namespace base {
DecoderModel::DecoderModel(const std::string &param) : Model("DecoderModel", param)
{
    this->param.FromString(param);
    this->inTensorCandidates = {
        {"default", {
            "input_ids", "positional_ids", "cosine_table", "sine_table", "attention_mask",
            "block_tables", "slots", "place_holder", "seq_len", "logits_indices"}
        },
        {"q_len", {"q_len"}},
        {"lora", {"lora_a", "lora_b"}},
    };
    if (this->param.skipWordEmbedding) {
        this->inTensorCandidates["default"].at(0) = "input_embedding";
    }
}
int64_t DecoderModel::BuildGraph()
{
    this->ConstructInTensorMap();
    this->graph_.inTensors.resize(this->inTensorMap.size());
    return atb::NO_ERROR;
}
void DecoderModel::ConstructInTensorMap()
{
    this->inTensorMap.clear();
    atb_speed::common::AssignTensorIdx(this->inTensorCandidates, "default", this->inTensorMap);
    if (this->param.enableSpeculate || this->param.enableSplitFuse) {
        atb_speed::common::AssignTensorIdx(this->inTensorCandidates, "q_len", this->inTensorMap);
    }
    if (param.enableLora) {
        uint32_t currentTensorIdx = this->inTensorMap.size();
        for (uint32_t i = 0; i < this->param.numHiddenLayers; i++) {
            this->inTensorMap["layer_" + std::to_string(i)] = currentTensorIdx++;
        }
    }
}
void DecoderModel::ParseDapParam(nlohmann::json &paramJson)
{
    this->seqLenForDap.Parse("seqLen", paramJson);
    this->qLenForDap.Parse("qLen", paramJson);
}
atb::Status DecoderModel::ParseParam(const std::string &paramString)
{
    nlohmann::json paramJson = StringToJson(paramString);
    if (param.enableDap) { ParseDapParam(paramJson); }
    for (auto item : paramJson["seqLen"]) { this->seqLen.push_back(item.get<int>()); }
    return atb::NO_ERROR;
}
atb::Status DecoderModel::BindParamHostTensor(uint32_t nodeId)
{
    uint32_t tensorIdx = atb_speed::common::GetTensorIdx(this->inTensorMap, "seq_len");
    if (tensorIdx != UINT32_MAX) {
        graph_.inTensors.at(tensorIdx).hostData = this->seqLen.data();
    }
    return atb::NO_ERROR;
}
}
}
"""
MAP_HEADER = """
#include <models/base/model/decoder_model.h>
namespace atb_speed {
namespace mapped {
class MappedParam : public atb_speed::base::ModelParam {
public:
    bool isLongSeq = false;
    float scale_emb = 1.0;
protected:
    void ParseParam(const nlohmann::json &paramJson) override;
};
class MappedModel : public atb_speed::base::DecoderModel {
public:
    explicit MappedModel(const std::string &param);
protected:
    void ConstructInTensorMap() override;
    bool WantsImages();
    MappedParam param;
};
REGISTER_MODEL(mapped, MappedModel);
}
}
"""
MAP_SOURCE = """
#include "models/mapped/model/mapped_model.h"
namespace atb_speed {
namespace mapped {
void MappedParam::ParseParam(const nlohmann::json &paramJson)
{
    atb_speed::base::ModelParam::ParseParam(paramJson);
    if (paramJson.contains("isLongSeq")) { isLongSeq = paramJson["isLongSeq"].get<bool>(); }
    if (paramJson.contains("scale_emb")) { scale_emb = paramJson["scale_emb"].get<float>(); }
}
MappedModel::MappedModel(const std::string &param) : atb_speed::base::DecoderModel(param)
{
    this->param.FromString(param);
    this->inTensorCandidates["long_seq"] = {"inv_freq"};
    this->inTensorCandidates["images"] = {"image_0", "image_1"};
}
bool MappedModel::WantsImages() { return this->param.isPrefill && this->param.isLongSeq; }
void MappedModel::ConstructInTensorMap()
{
    DecoderModel::ConstructInTensorMap();
    if (this->param.isLongSeq) {
        atb_speed::common::AssignTensorIdx(this->inTensorCandidates, "long_seq", this->inTensorMap);
    }
    if (this->WantsImages()) {
        atb_speed::common::AssignTensorIdx(this->inTensorCandidates, "images", this->inTensorMap);
    }
}
}
}
"""


def write_enum(folder: Path, source: str = ENUM_SOURCE, header: str = ENUM_HEADER) -> Path:
    """Writes the first model and returns its source file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "small_model.h").write_text(header, encoding="utf-8")
    (folder / "small_model.cpp").write_text(source, encoding="utf-8")
    return folder / "small_model.cpp"


def write_mapped(root: Path, source: str = MAP_SOURCE, header: str = MAP_HEADER) -> Path:
    """Writes the second model into a tree like MindIE's and returns its source file."""
    models = root / "atb_framework" / "models"
    files = {
        "base/param/model_param.h": BASE_PARAM,
        "base/model/decoder_model.h": BASE_HEADER,
        "base/model/decoder_model.cpp": BASE_SOURCE,
        "mapped/model/mapped_model.h": header,
        "mapped/model/mapped_model.cpp": source,
    }
    for name, text in files.items():
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        (models / name).write_text(text, encoding="utf-8")
    return models / "mapped/model/mapped_model.cpp"
