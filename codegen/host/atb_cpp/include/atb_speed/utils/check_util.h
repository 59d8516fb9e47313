// Checks of numbers that come from a model's parameters. All throw std::runtime_error.
#ifndef LLM_CODEGEN_ATB_SPEED_UTILS_CHECK_UTIL_H
#define LLM_CODEGEN_ATB_SPEED_UTILS_CHECK_UTIL_H

#include <cstddef>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <type_traits>
#include <vector>

namespace atb_speed {

using Json = nlohmann::json;

/// The product of two integers of the same signedness.
template <typename T, typename U>
typename std::common_type<T, U>::type CheckIntMulOverFlow(const T a, const U b) {
    static_assert(std::is_integral<T>::value && std::is_integral<U>::value, "integers only");
    if (std::is_signed<T>::value != std::is_signed<U>::value) {
        throw std::runtime_error("a signed and an unsigned integer are multiplied");
    }
    typename std::common_type<T, U>::type product = 0;
    if (__builtin_mul_overflow(a, b, &product)) {
        throw std::overflow_error("the product of two integers does not fit its type");
    }
    return product;
}

/// Return the number that they were given.
int CheckParamRange(const int &intParam, int min, int max);
int CheckNumHiddenLayersValid(const int &numHiddenLayers);
int CheckPositive(const int &intParam);

/// At least `numHiddenLayers` rows, each with at least `threshold` entries.
template <typename T>
void CheckLinearParamsSufficient(const std::vector<std::vector<T>> &linearParam,
                                 size_t numHiddenLayers, size_t threshold) {
    if (linearParam.size() < numHiddenLayers) {
        throw std::runtime_error("a parameter of the linears has fewer rows than layers");
    }
    for (const auto &row : linearParam) {
        if (row.size() < threshold) {
            throw std::runtime_error("a parameter of the linears has too few entries for a layer");
        }
    }
}

void CheckPackQuantParamsSufficient(const std::vector<std::vector<int>> &packQuantType,
                                    size_t numHiddenLayers);
void CheckLinearPackParamsSufficient(const std::vector<std::vector<int>> &linearPackType,
                                     size_t numHiddenLayers);
void CheckLinearHasBiasSufficient(const std::vector<std::vector<bool>> &linearHasBias,
                                  size_t numHiddenLayers);

}  // namespace atb_speed

#endif
