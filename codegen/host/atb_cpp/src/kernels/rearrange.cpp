// Permuting, repeating, softmax.
#include <algorithm>

#include "atb/operation.h"
#include "atb/params/shape_params.h"
#include "core/kernel.h"

namespace atb_host {
namespace {

using namespace atb::infer;  // NOLINT: four parameter structs

constexpr size_t kMaxRank = 8;

class Transpose : public Kernel {
public:
    explicit Transpose(const TransposeParam &param) : perm_(param.perm.begin(), param.perm.end()) {}

    std::vector<Operand> Operands() const override {
        return {{"x", kHalf | kInt8 | kInt32 | kInt64}};
    }

    std::vector<Type> Infer(const Types &types) const override {
        const Type &x = types["x"];
        Shape sorted = perm_;
        std::sort(sorted.begin(), sorted.end());
        Shape all;
        for (size_t i = 0; i < x.rank(); ++i) {
            all.push_back(static_cast<int64_t>(i));
        }
        if (sorted != all) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM, "perm ", Str(perm_), " does not order the ",
                 x.rank(), " dimensions of ", Str(x));
        }
        Type y = x;
        for (size_t i = 0; i < x.rank(); ++i) {
            y.shape[i] = x.shape[static_cast<size_t>(perm_[i])];
        }
        return {y};
    }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &) const override {
        return {Keep(inputs["x"].permute(perm_))};
    }

private:
    Shape perm_;
};

class Repeat : public Kernel {
public:
    explicit Repeat(const RepeatParam &param)
        : multiples_(param.multiples.begin(), param.multiples.end()) {}

    std::vector<Operand> Operands() const override { return {{"x", kHalf}}; }

    std::vector<Type> Infer(const Types &types) const override {
        const Type &x = types["x"];
        if (x.rank() > multiples_.size() ||
            std::any_of(multiples_.begin(), multiples_.end(), [](int64_t m) { return m < 1; })) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM, "multiples ", Str(multiples_), " do not fit ",
                 Str(x));
        }
        Type y = {x.dtype, multiples_};
        const size_t skip = multiples_.size() - x.rank();
        for (size_t i = 0; i < x.rank(); ++i) {
            y.shape[skip + i] *= x.shape[i];
        }
        return {y};
    }

    void Limits(const Types &types, std::vector<std::string> *found) const override {
        const Shape &x = types["x"].shape;
        size_t repeated = 0;
        for (size_t i = 0; i < x.size() && i < multiples_.size(); ++i) {
            repeated += multiples_[i] > 1 && x[i] != 1 ? 1 : 0;
        }
        if (repeated + multiples_.size() > kMaxRank) {
            found->push_back(Cat("repeated and all dimensions together exceed ", kMaxRank));
        }
    }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &) const override {
        return {Wide(inputs["x"]).repeat(multiples_)};
    }

private:
    Shape multiples_;
};

class Softmax : public Kernel {
public:
    explicit Softmax(const SoftmaxParam &param) : axes_(param.axes.begin(), param.axes.end()) {}

    std::vector<Operand> Operands() const override { return {{"x", kFloat}}; }
    bool MayOverwrite() const override { return true; }

    std::vector<Type> Infer(const Types &types) const override { return {types["x"]}; }

    void Limits(const Types &types, std::vector<std::string> *found) const override {
        const auto rank = static_cast<int64_t>(types["x"].rank());
        const auto outside = [rank](int64_t axis) { return axis < -1 || axis >= rank; };
        if (axes_.empty() || std::any_of(axes_.begin(), axes_.end(), outside)) {
            found->push_back(Cat("axes ", Str(axes_), " are empty or not in -1..", rank - 1));
            return;
        }
        for (size_t i = 1; i < axes_.size(); ++i) {
            if (axes_[i] != axes_[i - 1] + 1 || axes_[i] == 0) {
                found->push_back(Cat("axes ", Str(axes_), " do not follow one another"));
                return;
            }
        }
    }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &) const override {
        const at::Tensor x = Wide(inputs["x"]);
        const at::Tensor e = (x - x.amax(axes_, /*keepdim=*/true)).exp();
        return {e / e.sum(at::IntArrayRef(axes_), /*keepdim=*/true)};
    }

private:
    Shape axes_;
};

std::unique_ptr<Kernel> Make(const TransposeParam &param) {
    CheckReserved(param.rsv, "TransposeParam");
    return std::make_unique<Transpose>(param);
}

std::unique_ptr<Kernel> Make(const RepeatParam &param) {
    CheckReserved(param.rsv, "RepeatParam");
    return std::make_unique<Repeat>(param);
}

std::unique_ptr<Kernel> Make(const SoftmaxParam &param) {
    CheckReserved(param.rsv, "SoftmaxParam");
    return std::make_unique<Softmax>(param);
}

std::unique_ptr<Kernel> Make(const TransdataParam &) {
    Fail(atb::ERROR_INVALID_PARAM, "the host runtime has the ND format only");
}

}  // namespace
}  // namespace atb_host

ATB_HOST_OPERATION(TransposeParam, "Transpose")
ATB_HOST_OPERATION(RepeatParam, "Repeat")
ATB_HOST_OPERATION(SoftmaxParam, "Softmax")
ATB_HOST_OPERATION(TransdataParam, "Transdata")
