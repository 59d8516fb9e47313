#ifndef LLAMAFORCAUSALLM_MODEL_PARAM_H
#define LLAMAFORCAUSALLM_MODEL_PARAM_H

#include <cstdint>
#include <string>

namespace atb_speed {
namespace llamaforcausallm {

// What the Python side says when it makes a model.
struct Param {
    bool isPrefill = false;
    // This process among those that share the work of each layer.
    int32_t rank = 0;
    int32_t worldSize = 1;
    // How the ranks talk to each other: "hccl" or "lccl".
    std::string backend = "hccl";
    std::string rankTableFile;

    // Reads JSON; throws std::runtime_error if it does not fit this model.
    void FromString(const std::string &text);

    // How many of `count` heads or features a rank has; where there are fewer than ranks, one.
    int32_t PerRank(int32_t count) const
    {
        return count < worldSize ? 1 : count / worldSize;
    }

    // The first of `count` heads or features that this rank has.
    int32_t FirstOf(int32_t count) const
    {
        return static_cast<int32_t>(static_cast<int64_t>(rank) * count / worldSize);
    }
};

}  // namespace llamaforcausallm
}  // namespace atb_speed

#endif
