// How an operation is declared: operands with their element types, shape rule, limits, values.
// The reference is the ATB dialect in `codegen/targets/atb/ops`; the two are tested to agree.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/aten.h"
#include "core/refusal.h"
#include "core/types.h"

namespace atb_host {

/// Element types that an operand may have.
using DTypes = std::vector<aclDataType>;

extern const DTypes kHalf;
extern const DTypes kFloat;
extern const DTypes kFloat16;
extern const DTypes kFloat32;
extern const DTypes kInt8;
extern const DTypes kInt32;
extern const DTypes kInt64;

DTypes operator|(DTypes left, const DTypes &right);

/// An input of an operation, in ATB's order.
struct Operand {
    std::string name;
    DTypes dtypes;
    /// Name of an earlier operand whose element type it must share; empty for none.
    std::string like = "";
    /// ATB reads its values on the host.
    bool host = false;
};

/// Things by operand name.
template <typename T>
class Named {
public:
    void Add(const std::string &name, T value) { items_.emplace_back(name, std::move(value)); }
    bool Has(const std::string &name) const { return Find(name) != nullptr; }
    const T &operator[](const std::string &name) const {
        const T *found = Find(name);
        if (found == nullptr) {
            Fail(atb::ERROR_INTERNAL_ERROR, "operand ", name, " is absent");
        }
        return *found;
    }

private:
    const T *Find(const std::string &name) const {
        for (const auto &item : items_) {
            if (item.first == name) {
                return &item.second;
            }
        }
        return nullptr;
    }

    std::vector<std::pair<std::string, T>> items_;
};

using Types = Named<Type>;
using Tensors = Named<at::Tensor>;

/// One operation with its parameters.
class Kernel {
public:
    virtual ~Kernel() = default;

    /// The operands that are present with these parameters.
    virtual std::vector<Operand> Operands() const = 0;
    virtual uint32_t ResultCount() const { return 1; }
    /// For each result the position of the operand that it writes in place, -1 for a new tensor.
    virtual std::vector<int> InPlace() const { return std::vector<int>(ResultCount(), -1); }
    /// Positions of operands that are written in place.
    virtual std::vector<int> Written() const;
    /// Each element of the result depends on the elements at its own place only, or on its row, so
    /// that the result may overwrite an operand of the same type.
    virtual bool MayOverwrite() const { return false; }
    /// Types of the results; fails on shapes that do not fit.
    virtual std::vector<Type> Infer(const Types &types) const = 0;
    /// Adds violations of limits that are not needed for the types.
    virtual void Limits(const Types &types, std::vector<std::string> *found) const {
        (void)types;
        (void)found;
    }
    /// Results in float32 (or exact integers), not rounded; caches are written directly.
    virtual std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &types) const = 0;
};

/// Fails unless the reserved bytes of a parameter struct are zero.
template <size_t kSize>
void CheckReserved(const uint8_t (&reserved)[kSize], const std::string &where) {
    for (const uint8_t byte : reserved) {
        Require(byte == 0, where, ".rsv must stay zero");
    }
}

/// A floating point tensor in float32.
inline at::Tensor Wide(const at::Tensor &tensor) { return tensor.to(at::kFloat); }

/// Moved data: floats in float32 like every result, integers as they are.
inline at::Tensor Keep(const at::Tensor &tensor) {
    return tensor.is_floating_point() ? Wide(tensor) : tensor;
}

inline bool IsMultiple(int64_t size, int64_t of) { return size % of == 0; }

/// The operation of a kernel; `kind` is its name in MindIE's registry.
atb::Operation *MakeOperation(std::string kind, std::unique_ptr<Kernel> kernel);

}  // namespace atb_host

// Defines atb::CreateOperation for a parameter struct from `Make(param)` in namespace atb_host,
// which returns a kernel or fails.
#define ATB_HOST_OPERATION(Struct, kind)                                                       \
    namespace atb {                                                                            \
    template <>                                                                                \
    Status CreateOperation(const infer::Struct &opParam, Operation **operation) {              \
        return ::atb_host::Guard([&] {                                                         \
            ::atb_host::Require(operation != nullptr, kind ": the operation pointer is null"); \
            try {                                                                              \
                *operation = ::atb_host::MakeOperation(kind, ::atb_host::Make(opParam));       \
            } catch (const ::atb_host::Refusal &refusal) {                                     \
                ::atb_host::Fail(refusal.status(), kind ": ", refusal.what());                 \
            }                                                                                  \
        });                                                                                    \
    }                                                                                          \
    }  // namespace atb
