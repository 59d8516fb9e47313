#include "kernels/elewise_types.h"

namespace atb_host {

using atb::infer::ElewiseParam;

ElewiseKind ElewiseKindOf(ElewiseParam::ElewiseType type) {
    switch (type) {
        case ElewiseParam::ELEWISE_CAST: return {kFloat | kInt32 | kInt64};
        case ElewiseParam::ELEWISE_MULS:
        case ElewiseParam::ELEWISE_COS:
        case ElewiseParam::ELEWISE_SIN: return {kFloat};
        case ElewiseParam::ELEWISE_NEG:
        case ElewiseParam::ELEWISE_TANH: return {kHalf};
        case ElewiseParam::ELEWISE_LOGICAL_NOT: return {kInt8, false, false, true};
        case ElewiseParam::ELEWISE_QUANT: return {kFloat16, false, false, true};
        case ElewiseParam::ELEWISE_DYNAMIC_QUANT: return {kHalf, false, false, true};
        case ElewiseParam::ELEWISE_QUANT_PER_CHANNEL: return {kHalf, false, true, true};
        case ElewiseParam::ELEWISE_DEQUANT_PER_CHANNEL: return {kInt8, false, true, false};
        case ElewiseParam::ELEWISE_ADD: return {kFloat | kInt32 | kInt64, true};
        case ElewiseParam::ELEWISE_SUB: return {kHalf | kInt64, true};
        case ElewiseParam::ELEWISE_MUL: return {kHalf, true};
        case ElewiseParam::ELEWISE_REALDIV: return {kFloat, true};
        case ElewiseParam::ELEWISE_LOGICAL_AND:
        case ElewiseParam::ELEWISE_LOGICAL_OR: return {kInt8, true, false, true};
        case ElewiseParam::ELEWISE_LESS:
        case ElewiseParam::ELEWISE_GREATER: return {kFloat | kInt64, true, false, true};
        case ElewiseParam::ELEWISE_EQUAL: return {kFloat, true, false, true};
        default:
            Fail(atb::ERROR_INVALID_PARAM, "elewiseType ", static_cast<int>(type),
                 " is not known to the host runtime");
    }
}

at::Tensor ApplyUnary(ElewiseParam::ElewiseType type, const at::Tensor &x) {
    switch (type) {
        case ElewiseParam::ELEWISE_COS: return x.cos();
        case ElewiseParam::ELEWISE_SIN: return x.sin();
        case ElewiseParam::ELEWISE_NEG: return x.neg();
        case ElewiseParam::ELEWISE_TANH: return x.tanh();
        default: return x.eq(0);
    }
}

at::Tensor ApplyBinary(ElewiseParam::ElewiseType type, const at::Tensor &x, const at::Tensor &y) {
    switch (type) {
        case ElewiseParam::ELEWISE_ADD: return x + y;
        case ElewiseParam::ELEWISE_SUB: return x - y;
        case ElewiseParam::ELEWISE_MUL: return x * y;
        case ElewiseParam::ELEWISE_REALDIV: return x / y;
        case ElewiseParam::ELEWISE_LOGICAL_AND: return x.ne(0).logical_and(y.ne(0));
        case ElewiseParam::ELEWISE_LOGICAL_OR: return x.ne(0).logical_or(y.ne(0));
        case ElewiseParam::ELEWISE_LESS: return x.lt(y);
        case ElewiseParam::ELEWISE_GREATER: return x.gt(y);
        default: return x.eq(y);
    }
}

}  // namespace atb_host
