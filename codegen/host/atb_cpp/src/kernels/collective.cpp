// Operations in which all ranks of a group take part: AllReduce, AllGather, LinearParallel.
#include "atb/operation.h"
#include "atb/params/collective_params.h"
#include "core/group.h"
#include "core/kernel.h"
#include "core/session.h"

namespace atb_host {
namespace {

using namespace atb::infer;  // NOLINT: three parameter structs

const DTypes kReducible = {ACL_FLOAT16, ACL_BF16, ACL_FLOAT, ACL_INT8, ACL_INT32, ACL_INT64};

/// One rank's place in its group.
class Member {
public:
    template <typename Param>
    explicit Member(const Param &param) : rank_(param.rank), size_(param.rankSize) {
        Require(size_ >= 1, "rankSize must be positive, is ", size_);
        Require(rank_ >= 0 && rank_ < size_, "rank ", rank_, " is not in 0..", size_ - 1);
        Require(param.rankRoot >= 0 && param.rankRoot < size_, "rankRoot ", param.rankRoot,
                " is not in 0..", size_ - 1);
        Require(param.backend == "hccl" || param.backend == "lccl", "backend '", param.backend,
                "' is neither hccl nor lccl");
        Require(param.hcclComm == nullptr, "hcclComm must stay null: ranks meet by commDomain");
        Require(param.commMode == COMM_MULTI_PROCESS || param.commMode == COMM_MULTI_THREAD,
                "commMode is unknown");
        if (size_ > 1) {
            group_ = Group::Of(size_, param.commDomain);
            CurrentSession().groups.push_back(group_);
            CurrentSession().ranks.push_back(rank_);
        }
    }

    int64_t size() const { return size_; }

    std::vector<at::Tensor> Exchange(const std::string &what, const at::Tensor &tensor) const {
        // The others read it while this rank may already go on: it must be memory of its own.
        const at::Tensor own = tensor.clone();
        return group_ == nullptr ? std::vector<at::Tensor>{own}
                                 : group_->Exchange(rank_, what, own);
    }

    /// Sum in rank order, which gives the same bits on all ranks.
    at::Tensor Sum(const std::string &what, const at::Tensor &tensor) const {
        const std::vector<at::Tensor> all = Exchange(what, tensor);
        at::Tensor total = all[0];
        for (size_t i = 1; i < all.size(); ++i) {
            total = total + all[i];
        }
        return total;
    }

private:
    int rank_;
    int size_;
    std::shared_ptr<Group> group_;
};

class AllReduce : public Kernel {
public:
    explicit AllReduce(const AllReduceParam &param)
        : member_(param), reduction_(param.allReduceType) {}

    std::vector<Operand> Operands() const override { return {{"x", kReducible}}; }
    bool MayOverwrite() const override { return true; }
    std::vector<Type> Infer(const Types &types) const override { return {types["x"]}; }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &types) const override {
        const std::string what = Cat("AllReduce ", reduction_, " of ", Str(types["x"]));
        const at::Tensor x = Keep(inputs["x"]);
        if (reduction_ == "sum") {
            return {member_.Sum(what, x)};
        }
        const at::Tensor all = Stacked(member_.Exchange(what, x), 0);
        return {reduction_ == "max"   ? all.amax(0)
                : reduction_ == "min" ? all.amin(0)
                                      : all.prod(0).to(all.scalar_type())};
    }

private:
    Member member_;
    std::string reduction_;
};

class AllGather : public Kernel {
public:
    explicit AllGather(const AllGatherParam &param) : member_(param) {}

    std::vector<Operand> Operands() const override { return {{"x", kReducible}}; }

    std::vector<Type> Infer(const Types &types) const override {
        Type y = types["x"];
        y.shape.insert(y.shape.begin(), member_.size());
        return {y};
    }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &types) const override {
        const std::string what = Cat("AllGather of ", Str(types["x"]));
        return {Stacked(member_.Exchange(what, inputs["x"]), 0)};
    }

private:
    Member member_;
};

/// `allreduce(x · Wᵀ)`, then the residual, which every rank has, is added once.
class LinearParallel : public Kernel {
public:
    explicit LinearParallel(const LinearParallelParam &param)
        : member_(param), transposed_(param.transWeight), has_residual_(param.hasResidual) {}

    std::vector<Operand> Operands() const override {
        std::vector<Operand> made = {{"x", kHalf}, {"weight", kHalf, "x"}};
        if (has_residual_) {
            made.push_back({"residual", kHalf, "x"});
        }
        return made;
    }

    std::vector<Type> Infer(const Types &types) const override {
        Type y = types["x"];
        const Type &weight = types["weight"];
        if (y.rank() < 2 || y.rank() > 3 || weight.rank() != 2) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM_NUM, "x ", Str(y), " must have rank 2 or 3, weight ",
                 Str(weight), " rank 2");
        }
        const int64_t inner = weight.shape[transposed_ ? 1 : 0];
        if (y.shape.back() != inner) {
            Fail(atb::ERROR_INVALID_TENSOR_DIM, "x is ", Str(y), ", the weight ", Str(weight),
                 " wants ", inner, " features");
        }
        y.shape.back() = Features(weight);
        return {y};
    }

    void Limits(const Types &types, std::vector<std::string> *found) const override {
        const int64_t n = Features(types["weight"]);
        if (has_residual_ && types["residual"].shape != Shape{n} &&
            types["residual"].shape != Shape{1, n}) {
            found->push_back(
                Cat("residual ", Str(types["residual"]), " is not [", n, "] or [1, ", n, "]"));
        }
    }

    std::vector<at::Tensor> Evaluate(const Tensors &inputs, const Types &types) const override {
        const at::Tensor weight = Wide(inputs["weight"]);
        const at::Tensor part = Wide(inputs["x"]).matmul(transposed_ ? weight.t() : weight);
        const std::string what = Cat("LinearParallel to ", Str(Infer(types)[0]));
        const at::Tensor y = member_.Sum(what, part);
        return {has_residual_ ? y + Wide(inputs["residual"]) : y};
    }

private:
    int64_t Features(const Type &weight) const { return weight.shape[transposed_ ? 0 : 1]; }

    Member member_;
    bool transposed_;
    bool has_residual_;
};

std::unique_ptr<Kernel> Make(const AllReduceParam &param) {
    CheckReserved(param.rsv, "AllReduceParam");
    const std::string &type = param.allReduceType;
    Require(type == "sum" || type == "max" || type == "min" || type == "prod", "allReduceType '",
            type, "' is not sum, max, min or prod");
    Require(param.quantType == AllReduceParam::QUANT_TYPE_UNQUANT &&
                param.outDataType == ACL_DT_UNDEFINED,
            "quantType and outDataType must stay unset on the host runtime");
    return std::make_unique<AllReduce>(param);
}

std::unique_ptr<Kernel> Make(const AllGatherParam &param) {
    CheckReserved(param.rsv, "AllGatherParam");
    return std::make_unique<AllGather>(param);
}

std::unique_ptr<Kernel> Make(const LinearParallelParam &param) {
    CheckReserved(param.rsv, "LinearParallelParam");
    CheckReserved(param.twoDimTPInfo.rsv, "LinearParallelParam.twoDimTPInfo");
    Require(param.type == LinearParallelParam::LINEAR_ALL_REDUCE,
            "type must be LINEAR_ALL_REDUCE on the host runtime");
    Require(!param.keepIntermediate && param.quantGroupSize == 0 &&
                param.quantType == LinearParallelParam::QUANT_TYPE_UNQUANT &&
                param.outDataType == ACL_DT_UNDEFINED,
            "keepIntermediate, quantType, quantGroupSize and outDataType must stay unset on the ",
            "host runtime");
    return std::make_unique<LinearParallel>(param);
}

}  // namespace
}  // namespace atb_host

ATB_HOST_OPERATION(AllReduceParam, "AllReduce")
ATB_HOST_OPERATION(AllGatherParam, "AllGather")
ATB_HOST_OPERATION(LinearParallelParam, "LinearParallel")
