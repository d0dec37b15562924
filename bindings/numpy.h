// How Python's values become those of arrays.h, options.h and kernel_bench.h, and back.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/kernel_bench.h"
#include "bindings/options.h"

namespace py = pybind11;

namespace dipedge {

using NumpyArray = py::array_t<float, py::array::c_style | py::array::forcecast>;

// Numbers of a list or tuple, nested ones one after the other.
inline void append_numbers(const py::handle& from, std::vector<double>& to) {
    for (const py::handle item : from) {
        if (py::isinstance<py::sequence>(item)) {
            append_numbers(item, to);
        } else {
            to.push_back(item.cast<double>());
        }
    }
}

inline void add_options(const py::dict& from, const std::string& prefix, Options& to) {
    for (const auto& [key, value] : from) {
        const std::string name = prefix + key.cast<std::string>();
        if (py::isinstance<py::dict>(value)) {
            add_options(py::reinterpret_borrow<py::dict>(value), name + ".", to);
        } else if (py::isinstance<py::str>(value)) {
            to.add(name, value.cast<std::string>());
        } else if (py::isinstance<py::sequence>(value)) {
            std::vector<double> numbers;
            append_numbers(value, numbers);
            to.add(name, numbers);
        } else if (PyIndex_Check(value.ptr())) {
            const auto whole = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
            to.add(name, (int64_t)PyLong_AsUnsignedLongLongMask(whole.ptr()));
        } else {
            to.add(name, value.cast<double>());
        }
    }
}

}  // namespace dipedge

namespace pybind11::detail {

// A numpy array of float32 in C order is taken as it is, others are converted; ours are given away whole.
template <>
struct type_caster<dipedge::FloatArray> {
    PYBIND11_TYPE_CASTER(dipedge::FloatArray, const_name("numpy.ndarray[float32]"));

    bool load(handle from, bool convert) {
        if (!convert && !dipedge::NumpyArray::check_(from)) return false;
        dipedge::NumpyArray array = dipedge::NumpyArray::ensure(from);
        if (!array) return false;
        float* numbers = const_cast<float*>(array.data());
        const std::shared_ptr<float> kept(numbers, [array](float*) mutable {
            gil_scoped_acquire lock;
            array.release().dec_ref();
        });
        value = dipedge::FloatArray({array.shape(), array.shape() + array.ndim()}, kept);
        return true;
    }

    static handle cast(const dipedge::FloatArray& from, return_value_policy, handle) {
        auto* kept = new std::shared_ptr<float>(from.numbers());
        const capsule owner(kept, [](void* held) { delete (std::shared_ptr<float>*)held; });
        return array_t<float>(from.shape(), from.data(), owner).release();
    }
};

template <>
struct type_caster<dipedge::Options> {
    PYBIND11_TYPE_CASTER(dipedge::Options, const_name("dict"));

    bool load(handle from, bool) {
        if (!isinstance<dict>(from)) return false;
        dipedge::add_options(reinterpret_borrow<dict>(from), "", value);
        return true;
    }
};

template <>
struct type_caster<dipedge::Results> {
    PYBIND11_TYPE_CASTER(dipedge::Results, const_name("dict"));

    static handle cast(const dipedge::Results& from, return_value_policy, handle) {
        dict found;
        for (const auto& [name, array] : from.arrays) found[name.c_str()] = array;
        for (const auto& [name, number] : from.numbers) found[name.c_str()] = number;
        return found.release();
    }
};

}  // namespace pybind11::detail
