// The small helpers of the framework: logging, checks of parameters, text.
#include <cstdlib>
#include <cstring>

#include "atb/atb_infer.h"
#include "atb_speed/base/model.h"
#include "atb_speed/log.h"
#include "atb_speed/utils/check_util.h"
#include "atb_speed/utils/tensor_util.h"
#include "core/refusal.h"
#include "core/types.h"

namespace atb_speed {
namespace {

/// Level from LLM_CODEGEN_ATB_LOG; above kError if nothing is to be written.
int WrittenFrom() {
    const char *names[] = {"DEBUG", "INFO", "WARN", "ERROR"};
    const char *wanted = std::getenv("LLM_CODEGEN_ATB_LOG");
    for (int level = 0; wanted != nullptr && level < 4; ++level) {
        if (std::strcmp(names[level], wanted) == 0) {
            return level;
        }
    }
    return 4;
}

void CheckRows(size_t rows, size_t layers, const char *what) {
    CHECK_THROW(rows < layers, what << " has " << rows << " rows for " << layers << " layers");
}

template <typename T>
void CheckWidth(const std::vector<std::vector<T>> &rows, size_t width, const char *what) {
    for (const auto &row : rows) {
        CHECK_THROW(row.size() < width,
                    what << " has a row with fewer than " << width << " entries");
    }
}

}  // namespace

bool IsLogged(LogSeverity severity) {
    static const int from = WrittenFrom();
    return severity == LogSeverity::kError || static_cast<int>(severity) >= from;
}

void WriteLog(LogSeverity severity, const std::string &message) {
    static const int from = WrittenFrom();
    if (severity == LogSeverity::kError) {
        atb_host::KeepLog(message);
    }
    if (static_cast<int>(severity) >= from) {
        std::fprintf(stderr, "atb_speed: %s\n", message.c_str());
    }
}

int CheckParamRange(const int &intParam, int min, int max) {
    CHECK_THROW(intParam < min || intParam > max,
                "a parameter is " << intParam << ", not in " << min << ".." << max);
    return intParam;
}

int CheckNumHiddenLayersValid(const int &numHiddenLayers) {
    return CheckParamRange(numHiddenLayers, 1, 1000);
}

int CheckPositive(const int &intParam) {
    CHECK_THROW(intParam <= 0, "a parameter is " << intParam << ", must be positive");
    return intParam;
}

void CheckPackQuantParamsSufficient(const std::vector<std::vector<int>> &packQuantType,
                                    size_t numHiddenLayers) {
    CheckRows(packQuantType.size(), numHiddenLayers, "packQuantType");
    CheckWidth(packQuantType, 2, "packQuantType");
}

void CheckLinearPackParamsSufficient(const std::vector<std::vector<int>> &linearPackType,
                                     size_t numHiddenLayers) {
    CheckRows(linearPackType.size(), numHiddenLayers, "linearPackType");
    CheckWidth(linearPackType, 7, "linearPackType");
}

void CheckLinearHasBiasSufficient(const std::vector<std::vector<bool>> &linearHasBias,
                                  size_t numHiddenLayers) {
    CheckRows(linearHasBias.size(), numHiddenLayers, "linearHasBias");
    CheckWidth(linearHasBias, 4, "linearHasBias");
}

std::string TensorUtil::TensorDescToString(const atb::TensorDesc &tensorDesc) {
    const size_t rank = tensorDesc.shape.dimNum > atb::MAX_DIM ? 0 : tensorDesc.shape.dimNum;
    return atb_host::Str(
        atb_host::Type{tensorDesc.dtype, {tensorDesc.shape.dims, tensorDesc.shape.dims + rank}});
}

std::string TensorUtil::TensorToString(const atb::Tensor &tensor) {
    return TensorDescToString(tensor.desc);
}

uint64_t TensorUtil::GetTensorNumel(const atb::TensorDesc &tensorDesc) {
    return atb::Utils::GetTensorNumel(tensorDesc);
}

uint64_t TensorUtil::GetTensorNumel(const atb::Tensor &tensor) {
    return GetTensorNumel(tensor.desc);
}

bool TensorUtil::TensorDescEqual(const atb::TensorDesc &tensorDescA,
                                 const atb::TensorDesc &tensorDescB) {
    return TensorDescToString(tensorDescA) == TensorDescToString(tensorDescB);
}

}  // namespace atb_speed
