// The class _native.Program: engine/program.h with numpy arrays and the interpreter lock released.
#include "engine/program.h"

#include "bindings/arrays.h"

namespace dipedge {
namespace {

Downsample downsample_of(const std::string& name) {
    if (name == "stride") return Downsample::stride;
    if (name == "avg") return Downsample::avg;
    if (name == "max") return Downsample::max;
    if (name == "lanczos2") return Downsample::lanczos2;
    if (name == "lanczos3") return Downsample::lanczos3;
    throw std::invalid_argument("unknown downsampling '" + name + "'");
}

NetworkSpec network_of(const py::dict& from) {
    NetworkSpec spec;
    for (const py::handle level : from["levels"]) {
        const auto v = level.cast<std::array<int, 6>>();
        spec.levels.push_back({v[0], v[1], v[2], v[3], v[4], v[5]});
    }
    spec.bilinear = from["bilinear"].cast<bool>();
    spec.reflect = from["reflect"].cast<bool>();
    spec.need1x1_up = from["need1x1_up"].cast<bool>();
    spec.sigmoid = from["sigmoid"].cast<bool>();
    spec.downsample = downsample_of(from["downsample"].cast<std::string>());
    spec.subsample = from["subsample"].cast<bool>();
    spec.slope = from["slope"].cast<float>();
    spec.bn_eps = from["bn_eps"].cast<float>();
    return spec;
}

EncodingSpec encoding_of(const py::dict& from) {
    EncodingSpec spec;
    spec.channels = from["channels"].cast<int>();
    spec.frequencies = from["frequencies"].cast<std::vector<double>>();
    spec.learned = from["learned"].cast<bool>();
    spec.perturbation = from["perturbation"].cast<float>();
    spec.perturb_frequencies = from["perturb_frequencies"].cast<bool>();
    return spec;
}

DataTerm term_of(const py::dict& from) {
    DataTerm term;
    const auto kind = from["kind"].cast<std::string>();
    term.kind =
        kind == "mask" ? DataTerm::mask : (kind == "lanczos" ? DataTerm::lanczos : DataTerm::identity);
    term.scale = from["scale"].cast<int>();
    term.lobes = from["lobes"].cast<int>();
    return term;
}

ProgramSpec spec_of(const py::dict& from) {
    ProgramSpec spec;
    spec.network = network_of(from["network"]);
    spec.encoding = encoding_of(from["encoding"]);
    spec.term = term_of(from["term"]);
    const auto adam = from["adam"].cast<std::array<double, 4>>();
    const auto muon = from["muon"].cast<std::array<double, 3>>();
    spec.optimiser = {adam[0], adam[1], adam[2], adam[3], muon[0], muon[1], (int)muon[2]};
    const auto fall = from["fall"].cast<std::array<double, 3>>();
    spec.optimiser.hold = fall[0], spec.optimiser.decay = fall[1], spec.optimiser.final_share = fall[2];
    const auto shape = from["shape"].cast<std::array<int, 3>>();
    spec.height = shape[0], spec.width = shape[1], spec.channels = shape[2];
    spec.average = from["average"].cast<float>();
    spec.seed = from["seed"].cast<uint64_t>();
    spec.threads = from["threads"].cast<int>();
    spec.isa = from["isa"].cast<std::string>();
    spec.input_gradient = from["input_gradient"].cast<bool>();
    spec.half = from["bf16"].cast<bool>();
    return spec;
}

Buffer* array_named(Program& program, const std::string& kind) {
    Parameters& parameters = program.parameters();
    if (kind == "param") return parameters.values;
    if (kind == "grad") return parameters.gradients;
    if (kind == "adam/m") return parameters.means;
    if (kind == "adam/v") return parameters.squares;
    throw std::invalid_argument("unknown array '" + kind + "'");
}

const Parameter& parameter_named(Program& program, const std::string& name) {
    const Parameter* found = program.parameters().find(name);
    if (!found) throw std::invalid_argument("no parameter is named '" + name + "'");
    return *found;
}

FloatArray get_tensor(Program& program, const std::string& kind, const std::string& name) {
    const Parameter& parameter = parameter_named(program, name);
    FloatArray array(std::vector<py::ssize_t>(parameter.shape.begin(), parameter.shape.end()));
    Parameters::read(parameter, array_named(program, kind), array.mutable_data());
    return array;
}

void set_tensor(Program& program, const std::string& kind, const std::string& name, const FloatArray& array) {
    const Parameter& parameter = parameter_named(program, name);
    Parameters::write(parameter, checked(array, parameter.count(), name.c_str()), array_named(program, kind));
}

std::vector<py::ssize_t> out_shape(const Program& program) {
    const ProgramSpec& spec = program.spec();
    return {spec.height, spec.width, spec.channels};
}

std::vector<py::ssize_t> input_shape(const Program& program) {
    const ProgramSpec& spec = program.spec();
    return {spec.height, spec.width, spec.encoding.channels};
}

void set_mask(Program& program, const FloatArray& mask) {
    if (!program.tail().mask()) throw std::invalid_argument("this data term takes no mask");
    const size_t count = (size_t)program.spec().height * program.spec().width;
    std::copy_n(checked(mask, count, "mask"), count, program.tail().mask());
}

FloatArray sample(Program& program,
                  const py::array_t<int64_t, py::array::c_style | py::array::forcecast>& pixels) {
    const ProgramSpec& spec = program.spec();
    const int64_t all = (int64_t)spec.height * spec.width;
    FloatArray array({(py::ssize_t)pixels.size(), (py::ssize_t)spec.channels});
    float* to = array.mutable_data();
    for (py::ssize_t i = 0; i < pixels.size(); ++i) {
        const int64_t pixel = pixels.data()[i];
        if (pixel < 0 || pixel >= all) throw std::invalid_argument("a pixel index is outside the picture");
        to = std::copy_n(program.tail().out() + pixel * spec.channels, spec.channels, to);
    }
    return array;
}

FloatArray input_gradient(Program& program) {
    if (!program.encoding().has_gradient()) {
        throw std::invalid_argument("the program was compiled without the input's gradient");
    }
    FloatArray array(input_shape(program));
    program.encoding().get_gradient(array.mutable_data());
    return array;
}

}  // namespace

void add_program(py::module_& module) {
    py::class_<Program>(module, "Program")
        .def(py::init([](const py::dict& spec) { return std::make_unique<Program>(spec_of(spec)); }))
        .def("step", &Program::step, py::call_guard<py::gil_scoped_release>())
        .def("evaluate", &Program::evaluate, py::call_guard<py::gil_scoped_release>())
        .def("names",
             [](Program& program) {
                 std::vector<std::string> names;
                 for (const Parameter& parameter : program.parameters().all())
                     names.push_back(parameter.name);
                 return names;
             })
        .def("get", &get_tensor)
        .def("set", &set_tensor)
        .def("set_target",
             [](Program& program, const FloatArray& target) {
                 const size_t count = program.tail().target_floats();
                 std::copy_n(checked(target, count, "target"), count, program.tail().target());
             })
        .def("set_mask", &set_mask)
        .def("set_input",
             [](Program& program, const FloatArray& z) {
                 if (!program.encoding().dense()) throw std::invalid_argument("z is not kept in memory");
                 AnyEncoding& encoding = program.encoding();
                 encoding.set_values(checked(z, encoding.values(), "input"));
             })
        .def("get_input",
             [](Program& program) {
                 if (!program.encoding().dense()) throw std::invalid_argument("z is not kept in memory");
                 FloatArray array(input_shape(program));
                 program.encoding().get_values(array.mutable_data());
                 return array;
             })
        .def("input_gradient", &input_gradient)
        .def("output", [](Program& program) { return copy_of(program.tail().out(), out_shape(program)); })
        .def("set_output",
             [](Program& program, const FloatArray& output) {
                 std::copy_n(checked(output, program.out_floats(), "output"), program.out_floats(),
                             program.tail().out());
             })
        .def("averaged", [](Program& program) { return copy_of(program.averaged(), out_shape(program)); })
        .def("set_averaged",
             [](Program& program, const FloatArray& average) {
                 std::copy_n(checked(average, program.out_floats(), "average"), program.out_floats(),
                             program.averaged());
             })
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
