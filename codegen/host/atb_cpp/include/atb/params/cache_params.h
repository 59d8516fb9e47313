// Writing keys and values into caches.
#ifndef LLM_CODEGEN_ATB_PARAMS_CACHE_PARAMS_H
#define LLM_CODEGEN_ATB_PARAMS_CACHE_PARAMS_H

#include "atb/params/enums.h"

namespace atb {
namespace infer {

struct KvCacheParam {
    uint8_t rsv[8] = {0};
};

struct ReshapeAndCacheParam {
    enum CompressType : int {
        COMPRESS_TYPE_UNDEFINED = 0,
        COMPRESS_TYPE_KVHEAD,
        COMPRESS_TYPE_KVHEAD_ROPE,
    };
    enum KvCacheCfg : int { K_CACHE_V_CACHE = 0, K_CACHE_V_BYPASS, K_CACHE_V_CACHE_NZ };

    CompressType compressType = COMPRESS_TYPE_UNDEFINED;
    KvCacheCfg kvCacheCfg = K_CACHE_V_CACHE;
    uint8_t rsv[16] = {0};
};

struct ReshapeAndCacheOmniParam {
    uint8_t rsv[8] = {0};
};

}  // namespace infer
}  // namespace atb

#endif
