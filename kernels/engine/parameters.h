// All learned numbers in one flat array, and their names and shapes as PyTorch has them.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "engine/arena.h"

namespace dipedge {

// Where one named tensor lies in the flat arrays. Convolution weights are [tap][input][output], inputs
// and outputs in the engine's padded, physical order; PyTorch has them [output][input][tap].
struct Parameter {
    std::string name;
    std::vector<int> shape;  // PyTorch's
    size_t offset = 0;       // of the first float in the flat arrays
    size_t floats = 0;       // taken there, padding included
    int taps = 1;
    size_t input_stride = 0, output_stride = 1, tap_stride = 0;
    std::vector<int> input_place, output_place;  // physical position of each input and output

    size_t count() const;

    // Convolutions of at least 16 outputs and 16 values in: what Muon takes. The head is not one.
    bool is_wide_matrix() const;
};

class Parameters {
  public:
    // Vectors: one number per channel at the given physical places among `padded`.
    Parameter& add_vector(const std::string& name, std::vector<int> places, int padded);

    // Convolution weights, [taps][depth][padded_out] in memory.
    Parameter& add_conv(const std::string& name, int outputs, int kernel, std::vector<int> input_places,
                        int depth, int padded_out);

    // The head's weights, [outputs][padded] in memory, a 1x1 convolution to PyTorch.
    Parameter& add_head(const std::string& name, int outputs, int inputs, int padded);

    // Adds the four flat arrays to the arena; no parameter may be added afterwards.
    void allocate(Arena& arena);

    const std::vector<Parameter>& all() const { return parameters_; }
    const Parameter* find(const std::string& name) const;
    size_t floats() const { return floats_; }

    // Copies between PyTorch's layout and one of the flat arrays.
    static void read(const Parameter& parameter, const Buffer* from, float* to);
    static void write(const Parameter& parameter, const float* from, Buffer* to);

    Buffer *values = nullptr, *gradients = nullptr, *means = nullptr, *squares = nullptr;

  private:
    Parameter& add(const std::string& name, std::vector<int> shape, size_t floats);

    std::vector<Parameter> parameters_;
    size_t floats_ = 0;
};

// 0, 1, ..., count - 1: channels in their own places.
std::vector<int> in_order(int count);

}  // namespace dipedge
