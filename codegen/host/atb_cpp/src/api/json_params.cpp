// Operations from their registry name and JSON.
#include "api/json_params.h"

#include <functional>
#include <map>

#include "api/json_reader.h"
#include "atb/atb_infer.h"

namespace atb_host {
namespace {

using namespace atb::infer;  // NOLINT: all parameter structs

const Values<aclDataType> kDataTypes = {{"ACL_DT_UNDEFINED", ACL_DT_UNDEFINED},
                                        {"ACL_FLOAT", ACL_FLOAT},
                                        {"ACL_FLOAT16", ACL_FLOAT16},
                                        {"ACL_BF16", ACL_BF16},
                                        {"ACL_INT8", ACL_INT8},
                                        {"ACL_INT32", ACL_INT32},
                                        {"ACL_INT64", ACL_INT64}};

const Values<QuantType> kQuantTypes = {
    {"QUANT_UNDEFINED", QUANT_UNDEFINED}, {"QUANT_INT8", QUANT_INT8}, {"QUANT_INT4", QUANT_INT4}};

void Fill(JsonReader &json, LinearParam *param) {
    json.Read("transposeA", &param->transposeA);
    json.Read("transposeB", &param->transposeB);
    json.Read("hasBias", &param->hasBias);
    json.ReadEnum("outDataType", &param->outDataType, kDataTypes);
    json.Read("enAccum", &param->enAccum);
    json.ReadEnum<LinearParam::QuantMode>("quantMode", &param->quantMode,
                                          {{"QUANT_UNDEFINED", LinearParam::QUANT_UNDEFINED},
                                           {"PER_CHANNEL", LinearParam::PER_CHANNEL},
                                           {"PER_TOKEN", LinearParam::PER_TOKEN}});
}

template <typename Fused>
void FillFused(JsonReader json, Fused *param) {
    json.ReadEnum("quantType", &param->quantType, kQuantTypes);
    json.Read("epsilon", &param->epsilon);
    json.Read("hasBias", &param->hasBias);
    json.Finish();
}

void Fill(JsonReader &json, RmsNormParam *param) {
    json.ReadEnum<RmsNormParam::RmsNormType>(
        "layerType", &param->layerType,
        {{"RMS_NORM_NORM", RmsNormParam::RMS_NORM_NORM},
         {"RMS_NORM_PRENORM", RmsNormParam::RMS_NORM_PRENORM},
         {"RMS_NORM_POSTNORM", RmsNormParam::RMS_NORM_POSTNORM}});
    JsonReader norm = json.Group("normParam");
    norm.ReadEnum("quantType", &param->normParam.quantType, kQuantTypes);
    norm.Read("epsilon", &param->normParam.epsilon);
    norm.Read("rstd", &param->normParam.rstd);
    norm.ReadEnum<RmsNormParam::ModelType>(
        "modelType", &param->normParam.modelType,
        {{"LLAMA_MODEL", RmsNormParam::LLAMA_MODEL}, {"GEMMA_MODEL", RmsNormParam::GEMMA_MODEL}});
    norm.Finish();
    FillFused(json.Group("preNormParam"), &param->preNormParam);
    FillFused(json.Group("postNormParam"), &param->postNormParam);
}

void Fill(JsonReader &json, LayerNormParam *param) {
    json.ReadEnum<LayerNormParam::LayerNormType>(
        "layerType", &param->layerType,
        {{"LAYER_NORM_NORM", LayerNormParam::LAYER_NORM_NORM},
         {"LAYER_NORM_PRENORM", LayerNormParam::LAYER_NORM_PRENORM},
         {"LAYER_NORM_POSTNORM", LayerNormParam::LAYER_NORM_POSTNORM}});
    JsonReader norm = json.Group("normParam");
    norm.ReadEnum("quantType", &param->normParam.quantType, kQuantTypes);
    norm.Read("epsilon", &param->normParam.epsilon);
    norm.Read("beginNormAxis", &param->normParam.beginNormAxis);
    norm.Read("beginParamsAxis", &param->normParam.beginParamsAxis);
    norm.Finish();
}

void Fill(JsonReader &json, ActivationParam *param) {
    json.ReadEnum<ActivationType>("activationType", &param->activationType,
                                  {{"ACTIVATION_RELU", ACTIVATION_RELU},
                                   {"ACTIVATION_GELU", ACTIVATION_GELU},
                                   {"ACTIVATION_FAST_GELU", ACTIVATION_FAST_GELU},
                                   {"ACTIVATION_SWISH", ACTIVATION_SWISH},
                                   {"ACTIVATION_LOG", ACTIVATION_LOG},
                                   {"ACTIVATION_SWIGLU_FORWARD", ACTIVATION_SWIGLU_FORWARD},
                                   {"ACTIVATION_SWIGLU_BACKWARD", ACTIVATION_SWIGLU_BACKWARD},
                                   {"ACTIVATION_SIGMOID", ACTIVATION_SIGMOID}});
    json.Read("dim", &param->dim);
    json.ReadEnum<ActivationParam::GeLUMode>(
        "geluMode", &param->geluMode,
        {{"TANH_MODE", ActivationParam::TANH_MODE}, {"NONE_MODE", ActivationParam::NONE_MODE}});
}

void Fill(JsonReader &json, ElewiseParam *param) {
    const Values<ElewiseParam::ElewiseType> types = {
        {"ELEWISE_CAST", ElewiseParam::ELEWISE_CAST},
        {"ELEWISE_MULS", ElewiseParam::ELEWISE_MULS},
        {"ELEWISE_COS", ElewiseParam::ELEWISE_COS},
        {"ELEWISE_SIN", ElewiseParam::ELEWISE_SIN},
        {"ELEWISE_NEG", ElewiseParam::ELEWISE_NEG},
        {"ELEWISE_QUANT", ElewiseParam::ELEWISE_QUANT},
        {"ELEWISE_LOGICAL_NOT", ElewiseParam::ELEWISE_LOGICAL_NOT},
        {"ELEWISE_ADD", ElewiseParam::ELEWISE_ADD},
        {"ELEWISE_MUL", ElewiseParam::ELEWISE_MUL},
        {"ELEWISE_REALDIV", ElewiseParam::ELEWISE_REALDIV},
        {"ELEWISE_LOGICAL_AND", ElewiseParam::ELEWISE_LOGICAL_AND},
        {"ELEWISE_LOGICAL_OR", ElewiseParam::ELEWISE_LOGICAL_OR},
        {"ELEWISE_LESS", ElewiseParam::ELEWISE_LESS},
        {"ELEWISE_GREATER", ElewiseParam::ELEWISE_GREATER},
        {"ELEWISE_SUB", ElewiseParam::ELEWISE_SUB},
        {"ELEWISE_EQUAL", ElewiseParam::ELEWISE_EQUAL},
        {"ELEWISE_QUANT_PER_CHANNEL", ElewiseParam::ELEWISE_QUANT_PER_CHANNEL},
        {"ELEWISE_DEQUANT_PER_CHANNEL", ElewiseParam::ELEWISE_DEQUANT_PER_CHANNEL},
        {"ELEWISE_DYNAMIC_QUANT", ElewiseParam::ELEWISE_DYNAMIC_QUANT},
        {"ELEWISE_TANH", ElewiseParam::ELEWISE_TANH}};
    json.ReadEnum("elewiseType", &param->elewiseType, types);
    JsonReader quant = json.Group("quantParam");
    quant.Read("inputScale", &param->quantParam.inputScale);
    quant.Read("inputOffset", &param->quantParam.inputOffset);
    quant.Finish();
    JsonReader muls = json.Group("mulsParam");
    muls.Read("varAttr", &param->mulsParam.varAttr);
    muls.Finish();
    json.ReadEnum("outTensorType", &param->outTensorType, kDataTypes);
}

void Fill(JsonReader &json, RopeParam *param) {
    json.Read("rotaryCoeff", &param->rotaryCoeff);
    json.Read("cosFormat", &param->cosFormat);
}

void Fill(JsonReader &json, SelfAttentionParam *param) {
    using P = SelfAttentionParam;
    json.Read("headNum", &param->headNum);
    json.Read("kvHeadNum", &param->kvHeadNum);
    json.Read("qkScale", &param->qkScale);
    json.Read("isTriuMask", &param->isTriuMask);
    json.ReadEnum<P::CalcType>("calcType", &param->calcType,
                               {{"PA_ENCODER", P::PA_ENCODER},
                                {"UNDEFINED", P::UNDEFINED},
                                {"ENCODER", P::ENCODER},
                                {"DECODER", P::DECODER}});
    json.ReadEnum<P::KernelType>("kernelType", &param->kernelType,
                                 {{"KERNELTYPE_DEFAULT", P::KERNELTYPE_DEFAULT},
                                  {"KERNELTYPE_HIGH_PRECISION", P::KERNELTYPE_HIGH_PRECISION}});
    json.ReadEnum<P::MaskType>("maskType", &param->maskType,
                               {{"MASK_TYPE_UNDEFINED", P::MASK_TYPE_UNDEFINED},
                                {"MASK_TYPE_NORM", P::MASK_TYPE_NORM},
                                {"MASK_TYPE_ALIBI", P::MASK_TYPE_ALIBI},
                                {"MASK_TYPE_NORM_COMPRESS", P::MASK_TYPE_NORM_COMPRESS}});
}

void Fill(JsonReader &json, PagedAttentionParam *param) {
    using P = PagedAttentionParam;
    json.Read("headNum", &param->headNum);
    json.Read("kvHeadNum", &param->kvHeadNum);
    json.Read("qkScale", &param->qkScale);
    json.ReadEnum<P::MaskType>("maskType", &param->maskType,
                               {{"MASK_TYPE_UNDEFINED", P::UNDEFINED},
                                {"MASK_TYPE_NORM", P::MASK_TYPE_NORM},
                                {"MASK_TYPE_ALIBI", P::MASK_TYPE_ALIBI},
                                {"MASK_TYPE_SPEC", P::MASK_TYPE_SPEC}});
}

void Fill(JsonReader &json, ReshapeAndCacheParam *param) {
    using P = ReshapeAndCacheParam;
    json.ReadEnum<P::CompressType>("compressType", &param->compressType,
                                   {{"COMPRESS_TYPE_UNDEFINED", P::COMPRESS_TYPE_UNDEFINED},
                                    {"COMPRESS_TYPE_KVHEAD", P::COMPRESS_TYPE_KVHEAD}});
    json.ReadEnum<P::KvCacheCfg>(
        "kvCacheCfg", &param->kvCacheCfg,
        {{"K_CACHE_V_CACHE", P::K_CACHE_V_CACHE}, {"K_CACHE_V_BYPASS", P::K_CACHE_V_BYPASS}});
}

void Fill(JsonReader &, KvCacheParam *) {}

void Fill(JsonReader &json, GatherParam *param) {
    json.Read("axis", &param->axis);
    json.Read("batchDims", &param->batchDims);
}

void Fill(JsonReader &json, SplitParam *param) {
    json.Read("splitDim", &param->splitDim);
    json.Read("splitNum", &param->splitNum);
    json.Read("splitSizes", &param->splitSizes);
}

void Fill(JsonReader &json, ConcatParam *param) { json.Read("concatDim", &param->concatDim); }

void Fill(JsonReader &json, SliceParam *param) {
    json.Read("offsets", &param->offsets);
    json.Read("size", &param->size);
}

void Fill(JsonReader &json, SoftmaxParam *param) { json.Read("axes", &param->axes); }

void Fill(JsonReader &json, TransposeParam *param) { json.Read("perm", &param->perm); }

void Fill(JsonReader &json, RepeatParam *param) { json.Read("multiples", &param->multiples); }

template <typename Collective>
void FillPlace(JsonReader &json, Collective *param) {
    json.Read("rank", &param->rank);
    json.Read("rankSize", &param->rankSize);
    json.Read("rankRoot", &param->rankRoot);
    json.Read("backend", &param->backend);
    json.Read("commDomain", &param->commDomain);
}

void Fill(JsonReader &json, AllReduceParam *param) {
    FillPlace(json, param);
    json.Read("allReduceType", &param->allReduceType);
}

void Fill(JsonReader &json, AllGatherParam *param) { FillPlace(json, param); }

void Fill(JsonReader &json, LinearParallelParam *param) {
    FillPlace(json, param);
    json.Read("transWeight", &param->transWeight);
    json.Read("hasResidual", &param->hasResidual);
}

template <typename Param>
atb::Operation *MakeFromJson(const nlohmann::json &object) {
    Param param;
    JsonReader reader(object, "");
    Fill(reader, &param);
    reader.Finish();
    atb::Operation *operation = nullptr;
    Check(atb::CreateOperation(param, &operation), "");
    return operation;
}

using Maker = std::function<atb::Operation *(const nlohmann::json &)>;

const std::map<std::string, Maker> &Makers() {
    static const std::map<std::string, Maker> makers = {
        {"Linear", MakeFromJson<LinearParam>},
        {"RmsNorm", MakeFromJson<RmsNormParam>},
        {"LayerNorm", MakeFromJson<LayerNormParam>},
        {"Activation", MakeFromJson<ActivationParam>},
        {"Elewise", MakeFromJson<ElewiseParam>},
        {"Rope", MakeFromJson<RopeParam>},
        {"SelfAttention", MakeFromJson<SelfAttentionParam>},
        {"PagedAttention", MakeFromJson<PagedAttentionParam>},
        {"ReshapeAndCache", MakeFromJson<ReshapeAndCacheParam>},
        {"KvCache", MakeFromJson<KvCacheParam>},
        {"Gather", MakeFromJson<GatherParam>},
        {"Split", MakeFromJson<SplitParam>},
        {"Concat", MakeFromJson<ConcatParam>},
        {"Slice", MakeFromJson<SliceParam>},
        {"Softmax", MakeFromJson<SoftmaxParam>},
        {"Transpose", MakeFromJson<TransposeParam>},
        {"Repeat", MakeFromJson<RepeatParam>},
        {"AllReduce", MakeFromJson<AllReduceParam>},
        {"AllGather", MakeFromJson<AllGatherParam>},
        {"LinearParallel", MakeFromJson<LinearParallelParam>},
    };
    return makers;
}

}  // namespace

std::unique_ptr<atb::Operation> OperationFromJson(const std::string &type,
                                                  const std::string &text) {
    const auto found = Makers().find(type);
    Require(found != Makers().end(), "operation type '", type, "' is not known");
    return std::unique_ptr<atb::Operation>(found->second(nlohmann::json::parse(text)));
}

}  // namespace atb_host
