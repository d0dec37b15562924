// numpy arrays at the border: float32, C order, with their sizes checked.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace py = pybind11;

namespace dipedge {

using FloatArray = py::array_t<float, py::array::c_style | py::array::forcecast>;

// The array's data, after checking how many numbers it holds.
inline const float* checked(const FloatArray& array, size_t count, const char* name) {
    if ((size_t)array.size() != count) {
        throw std::invalid_argument(std::string(name) + " has " + std::to_string(array.size()) +
                                    " numbers; it must have " + std::to_string(count));
    }
    return array.data();
}

inline FloatArray new_array(const std::vector<py::ssize_t>& shape) { return FloatArray(shape); }

inline FloatArray copy_of(const float* from, const std::vector<py::ssize_t>& shape) {
    FloatArray array(shape);
    std::copy(from, from + array.size(), array.mutable_data());
    return array;
}

}  // namespace dipedge
