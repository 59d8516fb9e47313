#include "core/group.h"

#include <atomic>
#include <chrono>
#include <map>

#include "core/refusal.h"

namespace atb_host {
namespace {

std::atomic<double> g_timeout{120.0};
std::mutex g_groups_mutex;
std::map<std::pair<int, std::string>, std::weak_ptr<Group>> g_groups;
// Why groups that are made from now on are broken; empty if they are not.
std::string g_failure;
int g_failed_rank = 0;

}  // namespace

Group::Group(int rank_size, std::string domain)
    : rank_size_(rank_size),
      domain_(std::move(domain)),
      tensors_(static_cast<size_t>(rank_size)),
      whats_(static_cast<size_t>(rank_size)),
      arrived_(static_cast<size_t>(rank_size), false) {}

std::shared_ptr<Group> Group::Of(int rank_size, const std::string &domain) {
    const std::lock_guard<std::mutex> lock(g_groups_mutex);
    std::weak_ptr<Group> &place = g_groups[{rank_size, domain}];
    std::shared_ptr<Group> found = place.lock();
    if (found == nullptr) {
        found = std::make_shared<Group>(rank_size, domain);
        place = found;
        if (!g_failure.empty()) {
            found->Abort(g_failed_rank, g_failure);
        }
    }
    return found;
}

void Group::AbortAll(int rank, const std::string &reason) {
    const std::lock_guard<std::mutex> lock(g_groups_mutex);
    if (g_failure.empty()) {
        g_failure = reason.empty() ? "no reason given" : reason;
        g_failed_rank = rank;
    }
    for (const auto &[key, place] : g_groups) {
        if (const std::shared_ptr<Group> group = place.lock()) {
            group->Abort(rank, reason);
        }
    }
}

void Group::ForgetFailures() {
    const std::lock_guard<std::mutex> lock(g_groups_mutex);
    g_failure.clear();
    g_groups.clear();  // groups that failed may still be held by what remembers the failure
}

void Group::SetTimeout(double seconds) { g_timeout = seconds; }

std::vector<at::Tensor> Group::Exchange(int rank, const std::string &what,
                                        const at::Tensor &tensor) {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto place = static_cast<size_t>(rank);
    const auto deadline =
        std::chrono::steady_clock::now() + std::chrono::duration<double>(g_timeout.load());
    // A fast rank may come to the next round before a slow one has left the last.
    changed_.wait_until(lock, deadline, [&] { return leaving_ == 0 || !aborted_.empty(); });
    FailIfAborted();
    if (arrived_[place]) {
        Fail(atb::ERROR_HCCL_FAIL, "two threads act as rank ", rank, " of domain '", domain_, "'");
    }
    arrived_[place] = true;
    tensors_[place] = tensor;
    whats_[place] = what;
    const uint64_t round = round_;
    if (Missing().empty()) {
        disagreement_ = Disagreement();
        results_ = tensors_;
        tensors_.assign(tensors_.size(), at::Tensor());
        arrived_.assign(arrived_.size(), false);
        leaving_ = rank_size_;
        ++round_;
        changed_.notify_all();
    } else {
        Wait(lock, rank, round);
    }
    const std::vector<at::Tensor> results = results_;
    const std::string disagreement = disagreement_;
    if (--leaving_ == 0) {
        results_.clear();
        changed_.notify_all();
    }
    if (!disagreement.empty()) {
        Fail(atb::ERROR_HCCL_FAIL, disagreement);
    }
    return results;
}

void Group::Wait(std::unique_lock<std::mutex> &lock, int rank, uint64_t round) {
    const auto deadline =
        std::chrono::steady_clock::now() + std::chrono::duration<double>(g_timeout.load());
    const bool done =
        changed_.wait_until(lock, deadline, [&] { return round_ != round || !aborted_.empty(); });
    if (round_ != round) {
        return;
    }
    if (!done) {
        aborted_ = Cat("rank ", Missing(), " did not arrive within ", g_timeout.load(),
                       " seconds; rank ", rank, " waited");
        changed_.notify_all();
    }
    FailIfAborted();
}

void Group::Abort(int rank, const std::string &reason) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (aborted_.empty()) {
        aborted_ = Cat("rank ", rank, " failed: ", reason);
    }
    changed_.notify_all();
}

void Group::FailIfAborted() const {
    if (!aborted_.empty()) {
        Fail(atb::ERROR_HCCL_FAIL, aborted_);
    }
}

std::string Group::Missing() const {
    std::string missing;
    for (size_t i = 0; i < arrived_.size(); ++i) {
        if (!arrived_[i]) {
            missing += Cat(missing.empty() ? "" : ", ", i);
        }
    }
    return missing;
}

std::string Group::Disagreement() const {
    for (size_t i = 1; i < whats_.size(); ++i) {
        if (whats_[i] != whats_[0]) {
            return Cat("rank 0 does ", whats_[0], ", rank ", i, " does ", whats_[i]);
        }
    }
    return "";
}

}  // namespace atb_host
