// The Python module dipedge._native: the fit program, and every kernel on its own for tests.
#include "bindings/arrays.h"
#include "engine/program.h"

namespace dipedge {

void add_program(py::module_& module);
void add_kernels(py::module_& module);
void add_limits(py::module_& module);

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
