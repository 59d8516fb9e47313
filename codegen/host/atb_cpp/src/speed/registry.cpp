#include "speed/registry.h"

#include <dlfcn.h>

#include <map>
#include <mutex>

#include "atb_speed/utils/model_factory.h"
#include "core/refusal.h"

namespace atb_host {
namespace {

struct Entry {
    atb_speed::CreateModelFuncPtr create;
    std::string library;
};

std::recursive_mutex g_mutex;
/// What is being loaded: static objects of a library register themselves while it is opened.
std::string g_loading;
std::string g_collision;

std::map<std::string, Entry> &Entries() {
    static std::map<std::string, Entry> entries;
    return entries;
}

std::map<void *, std::string> &Libraries() {
    static std::map<void *, std::string> libraries;
    return libraries;
}

size_t Forget(const std::string &library) {
    size_t count = 0;
    for (auto entry = Entries().begin(); entry != Entries().end();) {
        if (entry->second.library == library) {
            entry = Entries().erase(entry);
            ++count;
        } else {
            ++entry;
        }
    }
    return count;
}

}  // namespace

void *OpenLibrary(const std::string &path) {
    const std::lock_guard<std::recursive_mutex> lock(g_mutex);
    for (const auto &[handle, loaded] : Libraries()) {
        Require(loaded != path, "model library ", path, " is loaded already");
    }
    g_loading = path;
    g_collision.clear();
    void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    g_loading.clear();
    if (library == nullptr) {
        Forget(path);
        Fail(atb::ERROR_INVALID_PARAM, "model library cannot be loaded: ", dlerror());
    }
    size_t count = 0;
    for (const auto &[name, entry] : Entries()) {
        count += entry.library == path ? 1 : 0;
    }
    if (!g_collision.empty() || count == 0) {
        Forget(path);
        dlclose(library);
        Require(g_collision.empty(), g_collision);
        Fail(atb::ERROR_INVALID_PARAM, "model library ", path,
             " registers no model: REGISTER_MODEL is missing");
    }
    Libraries()[library] = path;
    return library;
}

void CloseLibrary(void *library) {
    const std::lock_guard<std::recursive_mutex> lock(g_mutex);
    const auto found = Libraries().find(library);
    Require(found != Libraries().end(), "the model library is not loaded");
    Forget(found->second);
    Libraries().erase(found);
    dlclose(library);
}

std::vector<std::string> ModelNames() {
    const std::lock_guard<std::recursive_mutex> lock(g_mutex);
    std::vector<std::string> names;
    for (const auto &[name, entry] : Entries()) {
        names.push_back(name);
    }
    return names;
}

}  // namespace atb_host

namespace atb_speed {

bool ModelFactory::Register(const std::string &modelName, CreateModelFuncPtr createModel) {
    using namespace atb_host;  // NOLINT: the registry's own members
    const std::lock_guard<std::recursive_mutex> lock(g_mutex);
    const auto [entry, added] =
        Entries().emplace(modelName, Entry{std::move(createModel), g_loading});
    if (!added) {
        g_collision = Cat("model '", modelName, "' of ", g_loading, " is registered already, by ",
                          entry->second.library, "; unload that library first");
    }
    return added;
}

std::shared_ptr<Model> ModelFactory::CreateInstance(const std::string &modelName,
                                                    const std::string &param) {
    using namespace atb_host;  // NOLINT: the registry's own members
    CreateModelFuncPtr create;
    {
        const std::lock_guard<std::recursive_mutex> lock(g_mutex);
        const auto found = Entries().find(modelName);
        if (found == Entries().end()) {
            return nullptr;
        }
        create = found->second.create;
    }
    return create(param);
}

}  // namespace atb_speed
