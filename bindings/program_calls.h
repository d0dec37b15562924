// A fit program with arrays.h's arrays and its description as options: what _native.Program and
// tests/neon/check.cpp are made of. No Python in here.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/options.h"
#include "engine/program.h"

namespace dipedge {

// From the description that dipedge/engines/native.py makes. Everything below throws
// std::invalid_argument, with the name, for what is missing or does not fit.
std::unique_ptr<Program> compile(const Options& spec);

std::vector<std::string> names_of(Program& program);

// One tensor in PyTorch's layout; `kind` is "param", "grad", "adam/m" or "adam/v".
FloatArray get_tensor(Program& program, const std::string& kind, const std::string& name);
void set_tensor(Program& program, const std::string& kind, const std::string& name, const FloatArray& array);

void set_target(Program& program, const FloatArray& target);
void set_mask(Program& program, const FloatArray& mask);
void set_input(Program& program, const FloatArray& z);
FloatArray get_input(Program& program);
FloatArray input_gradient(Program& program);

// Where the pixels of each frame lie in the scene: a b c d e f and the time of a View.
void set_views(Program& program, const std::vector<double>& views);

// The two halves of a step, or of an evaluation where `perturb` is false: from the weights to the output, and from
// the loss's gradient by it [height, width, channels] to what an inner loss would have changed.
FloatArray forward(Program& program, bool perturb);
void backward(Program& program, const FloatArray& gradient, double loss);

FloatArray output(Program& program);
void set_output(Program& program, const FloatArray& output);
FloatArray averaged(Program& program);
void set_averaged(Program& program, const FloatArray& average);

}  // namespace dipedge
