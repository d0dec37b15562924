#include "engine/parameters.h"

#include "engine/tensor.h"

namespace dipedge {

std::vector<int> in_order(int count) {
    std::vector<int> places(count);
    for (int i = 0; i < count; ++i) places[i] = i;
    return places;
}

size_t Parameter::count() const {
    size_t count = 1;
    for (const int side : shape) count *= side;
    return count;
}

bool Parameter::is_wide_matrix() const { return tap_stride > 0 && shape[0] >= 16 && shape[1] * taps >= 16; }

Parameter& Parameters::add(const std::string& name, std::vector<int> shape, size_t floats) {
    Parameter parameter;
    parameter.name = name;
    parameter.shape = std::move(shape);
    parameter.offset = floats_;
    parameter.floats = (floats + channel_block<float> - 1) / channel_block<float> * channel_block<float>;
    floats_ += parameter.floats;
    parameters_.push_back(std::move(parameter));
    return parameters_.back();
}

Parameter& Parameters::add_vector(const std::string& name, std::vector<int> places, int padded) {
    Parameter& parameter = add(name, {(int)places.size()}, padded);
    parameter.output_place = std::move(places);
    parameter.input_place = {0};
    return parameter;
}

Parameter& Parameters::add_conv(const std::string& name, int outputs, int kernel,
                                std::vector<int> input_places, int depth, int padded_out) {
    Parameter& parameter = add(name, {outputs, (int)input_places.size(), kernel, kernel},
                               (size_t)kernel * kernel * depth * padded_out);
    parameter.taps = kernel * kernel;
    parameter.input_stride = padded_out;
    parameter.tap_stride = (size_t)depth * padded_out;
    parameter.input_place = std::move(input_places);
    parameter.output_place = in_order(outputs);
    return parameter;
}

Parameter& Parameters::add_head(const std::string& name, int outputs, int inputs, int padded) {
    Parameter& parameter = add(name, {outputs, inputs, 1, 1}, (size_t)outputs * padded);
    parameter.input_stride = 1;
    parameter.output_stride = padded;
    parameter.input_place = in_order(inputs);
    parameter.output_place = in_order(outputs);
    return parameter;
}

void Parameters::allocate(Arena& arena) {
    for (Buffer** array : {&values, &gradients, &means, &squares}) *array = arena.add_persistent(floats_);
}

const Parameter* Parameters::find(const std::string& name) const {
    for (const Parameter& parameter : parameters_) {
        if (parameter.name == name) return &parameter;
    }
    return nullptr;
}

template <class Visit>
static void visit(const Parameter& parameter, const Visit& each) {
    size_t index = 0;
    for (const int output : parameter.output_place) {
        for (const int input : parameter.input_place) {
            for (int tap = 0; tap < parameter.taps; ++tap, ++index) {
                each(index, parameter.offset + tap * parameter.tap_stride + input * parameter.input_stride +
                                output * parameter.output_stride);
            }
        }
    }
}

void Parameters::read(const Parameter& parameter, const Buffer* from, float* to) {
    visit(parameter, [&](size_t outside, size_t inside) { to[outside] = from->data[inside]; });
}

void Parameters::write(const Parameter& parameter, const float* from, Buffer* to) {
    visit(parameter, [&](size_t outside, size_t inside) { to->data[inside] = from[outside]; });
}

}  // namespace dipedge
