// Reads parameter structs from JSON in the spelling of MindIE's registry; unknown keys and values
// are refused. Only tests and tools create operations this way, models use the structs.
#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "atb/svector.h"
#include "core/refusal.h"

namespace atb_host {

template <typename Enum>
using Values = std::vector<std::pair<const char *, Enum>>;

class JsonReader {
public:
    JsonReader(nlohmann::json object, std::string path)
        : object_(std::move(object)), path_(std::move(path)) {
        Require(object_.is_object(), path_.empty() ? "the parameters" : path_,
                " must be an object");
    }

    template <typename T>
    void Read(const char *key, T *field) {
        if (const nlohmann::json *value = Find(key)) {
            try {
                *field = value->get<T>();
            } catch (const nlohmann::json::exception &) {
                Fail(atb::ERROR_INVALID_PARAM, path_, key, " is ", value->dump());
            }
        }
    }

    template <typename T>
    void Read(const char *key, atb::SVector<T> *field) {
        std::vector<T> items;
        Read(key, &items);
        if (object_.contains(key)) {
            field->clear();
            for (const T item : items) {
                field->push_back(item);
            }
        }
    }

    template <typename Enum>
    void ReadEnum(const char *key, Enum *field, const Values<Enum> &values) {
        std::string name;
        Read(key, &name);
        if (!object_.contains(key)) {
            return;
        }
        for (const auto &[known, value] : values) {
            if (name == known) {
                *field = value;
                return;
            }
        }
        Fail(atb::ERROR_INVALID_PARAM, path_, key, " '", name, "' is not known");
    }

    /// A nested object; empty if it is absent.
    JsonReader Group(const char *key) {
        const nlohmann::json *value = Find(key);
        return JsonReader(value == nullptr ? nlohmann::json::object() : *value, path_ + key + ".");
    }

    /// Fails if there is a key that was not read.
    void Finish() const {
        for (const auto &item : object_.items()) {
            Require(used_.count(item.key()) != 0, "the key '", path_, item.key(), "' is not known");
        }
    }

private:
    const nlohmann::json *Find(const char *key) {
        used_.insert(key);
        const auto found = object_.find(key);
        return found == object_.end() ? nullptr : &*found;
    }

    nlohmann::json object_;
    std::string path_;
    std::set<std::string> used_;
};

}  // namespace atb_host
