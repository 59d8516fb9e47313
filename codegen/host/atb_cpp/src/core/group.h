// Ranks of one group are threads of this process. They meet here, each with one tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace atb_host {

class Group {
public:
    Group(int rank_size, std::string domain);

    /// The group with this size and domain, made by whoever asks first. It ends with the last
    /// operation that belongs to it.
    static std::shared_ptr<Group> Of(int rank_size, const std::string &domain);

    /// How long a rank waits for the others.
    static void SetTimeout(double seconds);

    /// Gives one tensor and gets those of all ranks, in rank order.
    ///
    /// Fails if the ranks disagree about `what` (operation, type and shape), if one of them failed,
    /// arrives twice, or does not arrive in time.
    std::vector<at::Tensor> Exchange(int rank, const std::string &what, const at::Tensor &tensor);

    /// Tells the waiting ranks, and all that come later, that a rank failed.
    void Abort(int rank, const std::string &reason);

    /// The same for all groups, those that are made later too, until `ForgetFailures`: a rank can fail
    /// before it has met any other.
    static void AbortAll(int rank, const std::string &reason);

    /// The ranks are gone, and with them their failures.
    static void ForgetFailures();

private:
    void FailIfAborted() const;
    void Wait(std::unique_lock<std::mutex> &lock, int rank, uint64_t round);
    std::string Missing() const;
    std::string Disagreement() const;

    const int rank_size_;
    const std::string domain_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<at::Tensor> tensors_;
    std::vector<std::string> whats_;
    /// Ranks that came to the current round, and those that have not taken its result yet.
    std::vector<bool> arrived_;
    int leaving_ = 0;
    uint64_t round_ = 0;
    std::vector<at::Tensor> results_;
    std::string disagreement_;
    std::string aborted_;
};

}  // namespace atb_host
