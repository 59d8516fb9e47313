// Element type and shape of a tensor, as the runtime reasons about them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "atb/types.h"

namespace atb_host {

using Shape = std::vector<int64_t>;

struct Type {
    aclDataType dtype = ACL_DT_UNDEFINED;
    Shape shape;

    size_t rank() const { return shape.size(); }
    bool operator==(const Type &other) const {
        return dtype == other.dtype && shape == other.shape;
    }
    bool operator!=(const Type &other) const { return !(*this == other); }
};

/// `float16[2, 16]`.
std::string Str(const Type &type);
std::string Str(const Shape &shape);
std::string Str(aclDataType dtype);

/// Fails if the description has no element type, more than 8 dimensions or a negative size.
Type TypeOf(const atb::TensorDesc &desc, const std::string &what);
atb::TensorDesc DescOf(const Type &type);

int64_t Volume(const Shape &shape);
bool IsHalf(aclDataType dtype);
bool IsFloat(aclDataType dtype);

/// A possibly negative axis as a position.
size_t AxisOf(int64_t axis, size_t rank);

}  // namespace atb_host
