// A vector with at most 256 elements whose every access is checked.
#ifndef LLM_CODEGEN_ATB_SVECTOR_H
#define LLM_CODEGEN_ATB_SVECTOR_H

#include <cstddef>
#include <exception>
#include <initializer_list>
#include <stdexcept>
#include <vector>

namespace atb {

constexpr std::size_t MAX_SVECTOR_SIZE = 256;
constexpr std::size_t DEFAULT_SVECTOR_SIZE = 64;

/// More than 256 elements.
struct MaxSizeExceeded : public std::exception {
    const char *what() const noexcept override { return "an SVector holds at most 256 elements"; }
};

template <class T>
class SVector {
public:
    SVector() = default;
    SVector(std::initializer_list<T> list) : items_(list) { Check(list.size()); }
    explicit SVector(std::size_t size, const T &value = T()) : items_(Check(size), value) {}

    void push_back(const T &value) {
        Check(items_.size() + 1);
        items_.push_back(value);
    }
    void insert(std::size_t position, const T &value) {
        Check(items_.size() + 1);
        if (position > items_.size()) {
            throw std::out_of_range("SVector insert position out of range");
        }
        items_.insert(items_.begin() + static_cast<std::ptrdiff_t>(position), value);
    }
    void resize(std::size_t size) { items_.resize(Check(size)); }
    void reserve(std::size_t size) { items_.reserve(Check(size)); }
    void clear() noexcept { items_.clear(); }

    T &operator[](std::size_t index) { return items_.at(index); }
    const T &operator[](std::size_t index) const { return items_.at(index); }
    T &at(std::size_t index) { return items_.at(index); }
    const T &at(std::size_t index) const { return items_.at(index); }

    T *begin() noexcept { return items_.data(); }
    const T *begin() const noexcept { return items_.data(); }
    T *end() noexcept { return items_.data() + items_.size(); }
    const T *end() const noexcept { return items_.data() + items_.size(); }
    T *data() noexcept { return items_.data(); }
    const T *data() const noexcept { return items_.data(); }

    std::size_t size() const noexcept { return items_.size(); }
    bool empty() const noexcept { return items_.empty(); }

    bool operator==(const SVector &other) const { return items_ == other.items_; }
    bool operator!=(const SVector &other) const { return items_ != other.items_; }
    bool operator<(const SVector &other) const { return items_ < other.items_; }

private:
    static std::size_t Check(std::size_t size) {
        if (size > MAX_SVECTOR_SIZE) {
            throw MaxSizeExceeded();
        }
        return size;
    }

    std::vector<T> items_;
};

}  // namespace atb

#endif
