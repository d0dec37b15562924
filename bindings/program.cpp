// The class _native.Program: program_calls.h with numpy arrays and the interpreter lock released.
#include "bindings/numpy.h"
#include "bindings/program_calls.h"

namespace dipedge {
namespace {

FloatArray sample(Program& program,
                  const py::array_t<int64_t, py::array::c_style | py::array::forcecast>& pixels) {
    const ProgramSpec& spec = program.spec();
    const int64_t all = (int64_t)spec.height * spec.width;
    FloatArray array({pixels.size(), spec.channels});
    float* to = array.mutable_data();
    for (py::ssize_t i = 0; i < pixels.size(); ++i) {
        const int64_t pixel = pixels.data()[i];
        if (pixel < 0 || pixel >= all) throw std::invalid_argument("a pixel index is outside the picture");
        to = std::copy_n(program.tail().out() + pixel * spec.channels, spec.channels, to);
    }
    return array;
}

}  // namespace

void add_program(py::module_& module) {
    py::class_<Program>(module, "Program")
        .def(py::init(&compile))
        .def("step", &Program::step, py::call_guard<py::gil_scoped_release>())
        .def("evaluate", &Program::evaluate, py::call_guard<py::gil_scoped_release>())
        .def("forward", &forward, py::call_guard<py::gil_scoped_release>())
        .def("backward", &backward, py::call_guard<py::gil_scoped_release>())
        .def_property_readonly("begun", &Program::begun)
        .def("names", &names_of)
        .def("get", &get_tensor)
        .def("set", &set_tensor)
        .def("set_target", &set_target)
        .def("set_mask", &set_mask)
        .def("set_input", &set_input)
        .def("get_input", &get_input)
        .def("set_views", &set_views)
        .def("input_gradient", &input_gradient)
        .def("output", &output)
        .def("set_output", &set_output)
        .def("averaged", &averaged)
        .def("set_averaged", &set_averaged)
        .def("sample", &sample)
        .def("loss", &Program::loss)
        .def("set_loss", &Program::set_loss)
        .def_property("steps_done", &Program::steps_done, &Program::set_steps_done)
        .def_property("seed", &Program::seed, &Program::set_seed)
        .def_property_readonly("isa", &Program::isa)
        .def_property_readonly("bf16", &Program::half)
        .def_property_readonly("memory_bytes", &Program::memory_bytes);
}

}  // namespace dipedge
