#include "bindings/program_calls.h"

#include <algorithm>

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

// The numbers of a list that must have `count`, or whole groups of so many.
std::vector<double> numbers_of(const Options& from, const std::string& name, size_t count,
                               bool groups = false) {
    auto found = from.get<std::vector<double>>(name);
    if (groups ? found.size() % count : found.size() != count) {
        throw std::invalid_argument("the option '" + name + "' has " + std::to_string(found.size()) +
                                    " numbers; it must have " + std::to_string(count));
    }
    return found;
}

NetworkSpec network_of(const Options& from) {
    NetworkSpec spec;
    const auto levels = numbers_of(from, "network.levels", 6, true);
    for (size_t i = 0; i < levels.size(); i += 6) {
        const double* v = &levels[i];
        spec.levels.push_back({(int)v[0], (int)v[1], (int)v[2], (int)v[3], (int)v[4], (int)v[5]});
    }
    spec.bilinear = from.get<bool>("network.bilinear");
    spec.reflect = from.get<bool>("network.reflect");
    spec.need1x1_up = from.get<bool>("network.need1x1_up");
    spec.sigmoid = from.get<bool>("network.sigmoid");
    spec.downsample = downsample_of(from.get<std::string>("network.downsample"));
    spec.subsample = from.get<bool>("network.subsample");
    spec.slope = from.get<float>("network.slope");
    spec.bn_eps = from.get<float>("network.bn_eps");
    return spec;
}

EncodingSpec encoding_of(const Options& from) {
    EncodingSpec spec;
    spec.channels = from.get<int>("encoding.channels");
    spec.frequencies = from.get<std::vector<double>>("encoding.frequencies");
    spec.learned = from.get<bool>("encoding.learned");
    spec.times = from.get<std::vector<double>>("encoding.times", {});
    spec.warped = from.get<bool>("encoding.warped", false);
    spec.frames = from.get<int>("frames", 1);
    spec.perturbation = from.get<float>("encoding.perturbation");
    spec.perturb_frequencies = from.get<bool>("encoding.perturb_frequencies");
    return spec;
}

DataTerm term_of(const Options& from) {
    DataTerm term;
    const auto kind = from.get<std::string>("term.kind");
    if (kind == "mask") {
        term.kind = DataTerm::mask;
    } else if (kind == "lanczos") {
        term.kind = DataTerm::lanczos;
    } else if (kind == "outer") {
        term.kind = DataTerm::outer;
    } else if (kind != "identity") {
        throw std::invalid_argument("unknown data term '" + kind + "'");
    }
    term.scale = from.get<int>("term.scale");
    term.lobes = from.get<int>("term.lobes");
    return term;
}

ProgramSpec spec_of(const Options& from) {
    ProgramSpec spec;
    spec.network = network_of(from);
    spec.encoding = encoding_of(from);
    spec.term = term_of(from);
    const auto adam = numbers_of(from, "adam", 4), muon = numbers_of(from, "muon", 3);
    spec.optimiser = {adam[0], adam[1], adam[2], adam[3], muon[0], muon[1], (int)muon[2]};
    const auto fall = numbers_of(from, "fall", 3);
    spec.optimiser.hold = fall[0], spec.optimiser.decay = fall[1], spec.optimiser.final_share = fall[2];
    const auto shape = numbers_of(from, "shape", 3);
    spec.height = (int)shape[0], spec.width = (int)shape[1], spec.channels = (int)shape[2];
    spec.average = from.get<float>("average");
    spec.weight_noise = from.get<float>("weight_noise");
    spec.seed = from.get<uint64_t>("seed");
    spec.threads = from.get<int>("threads");
    spec.isa = from.get<std::string>("isa");
    spec.input_gradient = from.get<bool>("input_gradient");
    spec.half = from.get<bool>("bf16");
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

std::vector<ptrdiff_t> out_shape(const Program& program) {
    const ProgramSpec& spec = program.spec();
    return {spec.height, spec.width, spec.channels};
}

std::vector<ptrdiff_t> input_shape(const Program& program) {
    const ProgramSpec& spec = program.spec();
    return {spec.height, spec.width, spec.encoding.channels};
}

AnyEncoding& stored_input(Program& program) {
    if (!program.encoding().dense()) throw std::invalid_argument("z is not kept in memory");
    return program.encoding();
}

}  // namespace

std::unique_ptr<Program> compile(const Options& spec) { return std::make_unique<Program>(spec_of(spec)); }

std::vector<std::string> names_of(Program& program) {
    std::vector<std::string> names;
    for (const Parameter& parameter : program.parameters().all()) names.push_back(parameter.name);
    return names;
}

FloatArray get_tensor(Program& program, const std::string& kind, const std::string& name) {
    const Parameter& parameter = parameter_named(program, name);
    FloatArray array(std::vector<ptrdiff_t>(parameter.shape.begin(), parameter.shape.end()));
    Parameters::read(parameter, array_named(program, kind), array.mutable_data());
    return array;
}

void set_tensor(Program& program, const std::string& kind, const std::string& name, const FloatArray& array) {
    const Parameter& parameter = parameter_named(program, name);
    Parameters::write(parameter, checked(array, parameter.count(), name.c_str()), array_named(program, kind));
    program.weights_changed();
}

void set_target(Program& program, const FloatArray& target) {
    const size_t count = program.tail().target_floats();
    std::copy_n(checked(target, count, "target"), count, program.tail().target());
    program.target_changed();
}

void set_mask(Program& program, const FloatArray& mask) {
    if (!program.tail().mask()) throw std::invalid_argument("this data term takes no mask");
    const size_t count = (size_t)program.spec().height * program.spec().width;
    std::copy_n(checked(mask, count, "mask"), count, program.tail().mask());
}

void set_input(Program& program, const FloatArray& z) {
    AnyEncoding& encoding = stored_input(program);
    encoding.set_values(checked(z, encoding.values(), "input"));
    program.forget_forward();
}

void set_views(Program& program, const std::vector<double>& views) {
    if (views.size() % 7) throw std::invalid_argument("a view has 7 numbers");
    std::vector<View> found;
    for (size_t i = 0; i < views.size(); i += 7) {
        const double* v = views.data() + i;
        found.push_back({v[0], v[1], v[2], v[3], v[4], v[5], v[6]});
    }
    program.encoding().set_views(found);
    program.forget_forward();
}

FloatArray get_input(Program& program) {
    FloatArray array(input_shape(program));
    stored_input(program).get_values(array.mutable_data());
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

FloatArray forward(Program& program, bool perturb) {
    program.forward(perturb);
    return output(program);
}

void backward(Program& program, const FloatArray& gradient, double loss) {
    program.backward(checked(gradient, program.out_floats(), "gradient"), loss);
}

FloatArray output(Program& program) { return copy_of(program.tail().out(), out_shape(program)); }

void set_output(Program& program, const FloatArray& output) {
    std::copy_n(checked(output, program.out_floats(), "output"), program.out_floats(), program.tail().out());
}

FloatArray averaged(Program& program) { return copy_of(program.averaged(), out_shape(program)); }

void set_averaged(Program& program, const FloatArray& average) {
    std::copy_n(checked(average, program.out_floats(), "average"), program.out_floats(), program.averaged());
}

}  // namespace dipedge
