// Float32 arrays with their shapes, in C order: what calls by name take and give. No Python in here:
// numpy.h makes them from numpy arrays and back, and tests/neon/check.cpp reads and writes them as bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace dipedge {

// Copies share their numbers, which may belong to somebody else (a numpy array) and stay alive with them.
class FloatArray {
  public:
    FloatArray() = default;
    explicit FloatArray(std::vector<ptrdiff_t> shape) : shape_(std::move(shape)) {
        numbers_.reset(new float[size()](), std::default_delete<float[]>());
    }
    FloatArray(std::vector<ptrdiff_t> shape, std::shared_ptr<float> numbers)
        : shape_(std::move(shape)), numbers_(std::move(numbers)) {}

    ptrdiff_t ndim() const { return (ptrdiff_t)shape_.size(); }
    ptrdiff_t shape(int axis) const { return shape_.at(axis); }
    const std::vector<ptrdiff_t>& shape() const { return shape_; }
    ptrdiff_t size() const {
        ptrdiff_t count = 1;
        for (const ptrdiff_t length : shape_) count *= length;
        return count;
    }
    const float* data() const { return numbers_.get(); }
    float* mutable_data() { return numbers_.get(); }
    const std::shared_ptr<float>& numbers() const { return numbers_; }

  private:
    std::vector<ptrdiff_t> shape_ = {0};
    std::shared_ptr<float> numbers_;
};

// The array's data, after checking how many numbers it holds.
inline const float* checked(const FloatArray& array, size_t count, const char* name) {
    if ((size_t)array.size() != count) {
        throw std::invalid_argument(std::string(name) + " has " + std::to_string(array.size()) +
                                    " numbers; it must have " + std::to_string(count));
    }
    return array.data();
}

inline FloatArray copy_of(const float* from, std::vector<ptrdiff_t> shape) {
    FloatArray array(std::move(shape));
    std::copy(from, from + array.size(), array.mutable_data());
    return array;
}

}  // namespace dipedge
