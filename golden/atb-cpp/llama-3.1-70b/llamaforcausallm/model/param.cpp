#include "param.h"

#include <stdexcept>

#include "nlohmann/json.hpp"

namespace atb_speed {
namespace llamaforcausallm {
namespace {

// What the Python package that goes with this code sends along, so that neither is used with
// another model's.
constexpr char INTERFACE[] = "b97e7efe4f2b146e";

void Check(bool holds, const std::string &message)
{
    if (!holds) {
        throw std::runtime_error("llamaforcausallm: " + message);
    }
}

}  // namespace

void Param::FromString(const std::string &text)
{
    const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
    Check(json.is_object(), "the parameters are not a JSON object");
    Check(json.value("interface", "") == INTERFACE,
          "this C++ was generated for another model than the Python package");
    isPrefill = json.at("isPrefill").get<bool>();
    rank = json.at("rank").get<int32_t>();
    worldSize = json.at("worldSize").get<int32_t>();
    backend = json.at("backend").get<std::string>();
    rankTableFile = json.value("rankTableFile", "");
    Check(worldSize >= 1 && rank >= 0 && rank < worldSize, "rank is not below worldSize");
    Check(backend == "hccl" || backend == "lccl", "backend must be hccl or lccl");
    Check(64 % worldSize == 0, "64 attention heads cannot be divided among the ranks");
    Check(8 % worldSize == 0 || worldSize % 8 == 0,
          "8 key-value heads can neither be divided among the ranks nor repeated");
    Check(28672 % worldSize == 0, "28672 intermediate features cannot be divided among the ranks");
}

}  // namespace llamaforcausallm
}  // namespace atb_speed
