// The Python module dipedge._native: the fit program, and every kernel on its own for tests.
#include <pybind11/pybind11.h>

#include "bindings/limits.h"
#include "engine/program.h"

namespace py = pybind11;

namespace dipedge {

void add_program(py::module_& module);
void add_kernels(py::module_& module);

namespace {

void add_limits(py::module_& module) {
    using namespace py::literals;
    module.def(
        "fma_gflops",
        [](const std::string& isa, int threads) { return multiply_gflops(isa, threads, false); }, "isa"_a,
        "threads"_a, py::call_guard<py::gil_scoped_release>(),
        "Float32 multiply-adds, two flops each, that `threads` threads reach in registers alone");
    module.def(
        "bf16_gflops",
        [](const std::string& isa, int threads) { return multiply_gflops(isa, threads, true); }, "isa"_a,
        "threads"_a, py::call_guard<py::gil_scoped_release>(),
        "The same of bfloat16 products summed in float32");
    module.def("copy_gbytes", &copy_gbytes, "threads"_a, py::call_guard<py::gil_scoped_release>(),
               "Bytes read plus bytes written per second when 256 MB are copied");
}

}  // namespace

}  // namespace dipedge

PYBIND11_MODULE(_native, module) {
    module.doc() = "dipedge's native engine; used through dipedge.engines.native";
    module.attr("version") = DIPEDGE_VERSION;
    module.def("runnable_isas", [] { return std::string(dipedge::runnable_isas()); });
    module.def("multiplies_bf16", [](const std::string& isa) {
        const dipedge::Kernels* kernels = dipedge::kernels_for(isa.c_str());
        return kernels && kernels->has_bf16();
    });
    module.def("available_memory", &dipedge::available_memory);
    pybind11::register_exception_translator([](std::exception_ptr thrown) {
        try {
            if (thrown) std::rethrow_exception(thrown);
        } catch (const dipedge::OutOfMemory& error) {
            // MemoryError(text, bytes needed): native.py turns it into dipedge's own error.
            const pybind11::tuple arguments = pybind11::make_tuple(error.what(), error.needed);
            PyErr_SetObject(PyExc_MemoryError, arguments.ptr());
        }
    });
    dipedge::add_program(module);
    dipedge::add_kernels(module);
    dipedge::add_limits(module);
}
