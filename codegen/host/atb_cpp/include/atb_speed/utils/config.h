// Switches of the framework; on the CPU they are fixed.
#ifndef LLM_CODEGEN_ATB_SPEED_UTILS_CONFIG_H
#define LLM_CODEGEN_ATB_SPEED_UTILS_CONFIG_H

namespace atb_speed {

class Config {
public:
    bool IsConvertNCHWToND() const { return true; }
    bool IsTorchTensorFormatCast() const { return true; }
    bool IsUseTilingCopyStream() const { return false; }
    bool IsLayerInternalTensorReuse() const { return false; }
};

}  // namespace atb_speed

#endif
