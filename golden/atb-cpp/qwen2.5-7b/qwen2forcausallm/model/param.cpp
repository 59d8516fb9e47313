#include "param.h"

#include <stdexcept>

#include "nlohmann/json.hpp"

namespace atb_speed {
namespace qwen2forcausallm {
namespace {

// What the Python package that goes with this code sends along, so that neither is used with
// another model's.
constexpr char INTERFACE[] = "2fb0b0ac989c68e5";

void Check(bool holds, const std::string &message)
{
    if (!holds) {
        throw std::runtime_error("qwen2forcausallm: " + message);
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
    Check(28 % worldSize == 0, "28 attention heads cannot be divided among the ranks");
    Check(4 % worldSize == 0 || worldSize % 4 == 0,
          "4 key-value heads can neither be divided among the ranks nor repeated");
    Check(18944 % worldSize == 0, "18944 intermediate features cannot be divided among the ranks");
}

}  // namespace qwen2forcausallm
}  // namespace atb_speed
