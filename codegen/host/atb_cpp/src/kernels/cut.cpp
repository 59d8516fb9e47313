// Looking up, cutting and joining tensors.
#include <numeric>

#include "atb/operation.h"
#include "atb/params/shape_params.h"
#include "core/kernel.h"

namespace atb_host {
namespace {

using namespace atb::infer;  // NOLINT: four parameter structs

constexpr size_t kMaxRank = 8;

class Gather : public Kernel {
public:
    explicit Gather(const GatherParam &param) : axis_(param.axis) {}

    std::vector<Operand> Operands() const override {
        return {{"x", kFloat | kInt32 | kInt64}, {"indices", kInt32 | kInt64}};
    }

    std::vector<Type> Infer(const Types &types) const override {
        const Type &x = types["x"];
        const Shape &indices = types["indices"].shape;
        const size_t axis = AxisOf(axis_, x.rank());
        if (x.rank() + indices.size() - 1 > kMaxRank) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM_NUM, "the result has ",
                 x.rank() + indices.size() - 1, " dimensions, limit ", kMaxRank);
        }
        Type y = x;
        const auto place = y.shape.erase(y.shape.begin() + static_cast<std::ptrdiff_t>(axis));
        y.shape.insert(place, indices.begin(), indices.end());
        return {y};
    }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &types) const override {
        const at::Tensor &x = inputs["x"];
        const at::Tensor indices = inputs["indices"].to(at::kLong).flatten();
        const int64_t limit = x.size(axis_);
        if (indices.numel() != 0 &&
            (indices.min().item<int64_t>() < 0 || indices.max().item<int64_t>() >= limit)) {
            Fail(atb::ERROR_INVALID_PARAM, "indices are not in 0..", limit - 1);
        }
        return {Keep(x.index_select(axis_, indices)).reshape(Infer(types)[0].shape)};
    }

private:
    int64_t axis_;
};

class Split : public Kernel {
public:
    explicit Split(const SplitParam &param)
        : param_(param), sizes_(param.splitSizes.begin(), param.splitSizes.end()) {}

    std::vector<Operand> Operands() const override {
        return {{"x", param_.splitNum == 2 ? kHalf | kInt64 : kHalf}};
    }

    uint32_t ResultCount() const override { return static_cast<uint32_t>(param_.splitNum); }

    std::vector<Type> Infer(const Types &types) const override {
        const Type &x = types["x"];
        const size_t axis = AxisOf(param_.splitDim, x.rank());
        std::vector<Type> pieces;
        for (const int64_t size : SizesOf(x, axis)) {
            pieces.push_back(x);
            pieces.back().shape[axis] = size;
        }
        return pieces;
    }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &types) const override {
        const auto axis = static_cast<int64_t>(AxisOf(param_.splitDim, types["x"].rank()));
        std::vector<at::Tensor> pieces;
        int64_t start = 0;
        for (const int64_t size : SizesOf(types["x"], static_cast<size_t>(axis))) {
            pieces.push_back(Keep(inputs["x"].narrow(axis, start, size)));
            start += size;
        }
        return pieces;
    }

private:
    Shape SizesOf(const Type &x, size_t axis) const {
        const int64_t size = x.shape[axis];
        if (sizes_.empty()) {
            if (size % param_.splitNum != 0) {
                Fail(atb::ERROR_INVALID_TENSOR_DIM, "dimension ", axis, " of ", Str(x),
                     " is not a multiple of ", param_.splitNum);
            }
            return Shape(static_cast<size_t>(param_.splitNum), size / param_.splitNum);
        }
        if (std::accumulate(sizes_.begin(), sizes_.end(), int64_t{0}) != size) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM, "splitSizes ", Str(sizes_),
                 " do not add up to dimension ", axis, " of ", Str(x));
        }
        return sizes_;
    }

    SplitParam param_;
    Shape sizes_;
};

class Concat : public Kernel {
public:
    explicit Concat(const ConcatParam &param) : axis_(param.concatDim) {}

    std::vector<Operand> Operands() const override { return {{"x", kHalf}, {"y", kHalf, "x"}}; }

    std::vector<Type> Infer(const Types &types) const override {
        Type x = types["x"];
        const Type &y = types["y"];
        const size_t axis = AxisOf(axis_, x.rank());
        bool fits = x.rank() == y.rank();
        for (size_t i = 0; fits && i < x.rank(); ++i) {
            fits = i == axis || x.shape[i] == y.shape[i];
        }
        if (!fits) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM, Str(x), " and ", Str(y),
                 " differ outside dimension ", axis);
        }
        x.shape[axis] += y.shape[axis];
        return {x};
    }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &) const override {
        return {Wide(Joined({inputs["x"], inputs["y"]}, axis_))};
    }

private:
    int64_t axis_;
};

/// `size` elements from `offsets` on; size -1 takes all that is left, negative offsets count from
/// the end.
class Slice : public Kernel {
public:
    explicit Slice(const SliceParam &param)
        : offsets_(param.offsets.begin(), param.offsets.end()),
          sizes_(param.size.begin(), param.size.end()) {}

    std::vector<Operand> Operands() const override { return {{"x", kFloat | kInt8 | kInt32}}; }

    std::vector<Type> Infer(const Types &types) const override {
        Type y = types["x"];
        if (offsets_.size() != y.rank() || sizes_.size() != y.rank()) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM_NUM, "offsets ", Str(offsets_), " and size ",
                 Str(sizes_), " do not have the rank of ", Str(y));
        }
        for (size_t axis = 0; axis < y.rank(); ++axis) {
            const int64_t start = StartOf(axis, y.shape[axis]);
            const int64_t length = sizes_[axis] == -1 ? y.shape[axis] - start : sizes_[axis];
            if (sizes_[axis] < -1 || start < 0 || length < 0 || start + length > y.shape[axis]) {
                Fail(atb::ERROR_INVALID_TENSOR_DIM, sizes_[axis], " elements from ", offsets_[axis],
                     " exceed dimension ", axis, " of ", Str(y));
            }
            y.shape[axis] = length;
        }
        return {y};
    }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &types) const override {
        at::Tensor y = inputs["x"];
        const Shape shape = Infer(types)[0].shape;
        for (size_t axis = 0; axis < shape.size(); ++axis) {
            const auto dim = static_cast<int64_t>(axis);
            y = y.narrow(dim, StartOf(axis, y.size(dim)), shape[axis]);
        }
        return {Keep(y)};
    }

private:
    int64_t StartOf(size_t axis, int64_t size) const {
        return offsets_[axis] >= 0 ? offsets_[axis] : size + offsets_[axis];
    }

    Shape offsets_;
    Shape sizes_;
};

std::unique_ptr<Kernel> Make(const GatherParam &param) {
    CheckReserved(param.rsv, "GatherParam");
    Require(param.batchDims == 0, "batchDims must be 0 on the host runtime, is ", param.batchDims);
    Require(param.axis >= 0, "axis must not be negative, is ", param.axis);
    return std::make_unique<Gather>(param);
}

std::unique_ptr<Kernel> Make(const SplitParam &param) {
    CheckReserved(param.rsv, "SplitParam");
    const size_t count = param.splitSizes.size();
    Require(param.splitNum == 2 || param.splitNum == 3, "splitNum must be 2 or 3, is ",
            param.splitNum);
    Require(count == 0 || param.splitDim >= 0, "with splitSizes splitDim must not be negative");
    Require(count == 0 || count == static_cast<size_t>(param.splitNum), count,
            " splitSizes, but splitNum is ", param.splitNum);
    for (const int32_t size : param.splitSizes) {
        Require(size >= 1, "splitSizes must be positive, one is ", size);
    }
    return std::make_unique<Split>(param);
}

std::unique_ptr<Kernel> Make(const ConcatParam &param) {
    CheckReserved(param.rsv, "ConcatParam");
    return std::make_unique<Concat>(param);
}

std::unique_ptr<Kernel> Make(const SliceParam &param) {
    CheckReserved(param.rsv, "SliceParam");
    return std::make_unique<Slice>(param);
}

}  // namespace
}  // namespace atb_host

ATB_HOST_OPERATION(GatherParam, "Gather")
ATB_HOST_OPERATION(SplitParam, "Split")
ATB_HOST_OPERATION(ConcatParam, "Concat")
ATB_HOST_OPERATION(SliceParam, "Slice")
