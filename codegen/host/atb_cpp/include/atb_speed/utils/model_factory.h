// Models by name.
#ifndef LLM_CODEGEN_ATB_SPEED_UTILS_MODEL_FACTORY_H
#define LLM_CODEGEN_ATB_SPEED_UTILS_MODEL_FACTORY_H

#include <functional>
#include <memory>
#include <string>

#include "atb_speed/base/model.h"

namespace atb_speed {

using CreateModelFuncPtr = std::function<std::shared_ptr<atb_speed::Model>(const std::string &)>;

class ModelFactory {
public:
    /// False if the name is taken; the library that is being loaded is then refused.
    static bool Register(const std::string &modelName, CreateModelFuncPtr createModel);
    /// Null if no model has the name.
    static std::shared_ptr<atb_speed::Model> CreateInstance(const std::string &modelName,
                                                            const std::string &param);
};

}  // namespace atb_speed

#define MODEL_NAMESPACE_STRINGIFY(modelNameSpace) #modelNameSpace

// To be used in namespace atb_speed or where `ModelFactory` and the model class are visible.
#define REGISTER_MODEL(nameSpace, modelName)                                      \
    static const bool registered_##nameSpace##_##modelName [[maybe_unused]] =     \
        ::atb_speed::ModelFactory::Register(                                      \
            MODEL_NAMESPACE_STRINGIFY(nameSpace##_##modelName),                   \
            [](const std::string &param) -> std::shared_ptr<::atb_speed::Model> { \
                return std::make_shared<modelName>(param);                        \
            })

#endif
