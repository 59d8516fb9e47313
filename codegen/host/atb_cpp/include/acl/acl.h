// Element types, formats and the few runtime calls that model code makes, for the CPU.
// Names and values are those of CANN's ACL, so that code compiles against either.
#ifndef LLM_CODEGEN_ACL_ACL_H
#define LLM_CODEGEN_ACL_ACL_H

#include <cstddef>
#include <cstdint>

enum aclDataType {
    ACL_DT_UNDEFINED = -1,
    ACL_FLOAT = 0,
    ACL_FLOAT16 = 1,
    ACL_INT8 = 2,
    ACL_INT32 = 3,
    ACL_UINT8 = 4,
    ACL_INT16 = 6,
    ACL_UINT16 = 7,
    ACL_UINT32 = 8,
    ACL_INT64 = 9,
    ACL_UINT64 = 10,
    ACL_DOUBLE = 11,
    ACL_BOOL = 12,
    ACL_STRING = 13,
    ACL_COMPLEX64 = 16,
    ACL_COMPLEX128 = 17,
    ACL_BF16 = 27,
    ACL_INT4 = 29,
    ACL_UINT1 = 30,
    ACL_COMPLEX32 = 33,
};

enum aclFormat {
    ACL_FORMAT_UNDEFINED = -1,
    ACL_FORMAT_NCHW = 0,
    ACL_FORMAT_NHWC = 1,
    ACL_FORMAT_ND = 2,
    ACL_FORMAT_NC1HWC0 = 3,
    ACL_FORMAT_FRACTAL_Z = 4,
    ACL_FORMAT_NC1HWC0_C04 = 12,
    ACL_FORMAT_HWCN = 16,
    ACL_FORMAT_NDHWC = 27,
    ACL_FORMAT_FRACTAL_NZ = 29,
    ACL_FORMAT_NCDHW = 30,
    ACL_FORMAT_NDC1HWC0 = 32,
    ACL_FRACTAL_Z_3D = 33,
};

using aclError = int;
using aclrtStream = void *;
using aclrtEvent = void *;

constexpr aclError ACL_SUCCESS = 0;
constexpr aclError ACL_ERROR_NONE = 0;

extern "C" {
/// The CPU is device 0.
aclError aclrtGetDevice(int32_t *deviceId);
aclError aclrtSetDevice(int32_t deviceId);
/// Work is done when a call returns, so there is nothing to wait for.
aclError aclrtSynchronizeStream(aclrtStream stream);
/// Bytes of one element, 0 for types without a fixed size.
size_t aclDataTypeSize(aclDataType dataType);
}

#endif
