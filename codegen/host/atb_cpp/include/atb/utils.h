// Sizes of tensors, conversion of quantization scales.
#ifndef LLM_CODEGEN_ATB_UTILS_H
#define LLM_CODEGEN_ATB_UTILS_H

#include <cstdint>
#include <string>

#include "atb/types.h"

namespace atb {

class Utils {
public:
    static std::string GetAtbVersion();
    static uint64_t GetTensorSize(const Tensor &tensor);
    static uint64_t GetTensorSize(const TensorDesc &tensorDesc);
    static uint64_t GetTensorNumel(const Tensor &tensor);
    static uint64_t GetTensorNumel(const TensorDesc &tensorDesc);
    /// Puts the bits of each float32 into the low half of a 64-bit number.
    static void QuantParamConvert(const float *src, uint64_t *dest, uint64_t itemCount);
};

}  // namespace atb

#endif
