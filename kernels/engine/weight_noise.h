// Noise that is added to the weights themselves, before each step.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/parameters.h"
#include "engine/tensor.h"

namespace dipedge {

// To every weight of a convolution is added share * s * N(0, 1), s the standard deviation of its tensor's weights
// (with n - 1, as PyTorch's std; 0 for a tensor of one number). The weights stay where that leaves them: noise adds
// up over the steps, and a state holds it with no array of its own.
//
// Draws are values of kernels/perturb under the fit's own seed and step, in a half of its counter that nothing else
// reaches: 2^63 + 2^32 * (number of the tensor) + block. The noise of z begins at block 0, and a z of 2^65 values
// fits into no memory. Rows of a tensor begin new blocks; they are numbered without the padding, so that float32 and
// bf16 programs draw the same.
class WeightNoise {
  public:
    WeightNoise(float share, Parameters& parameters);

    // Adds the noise of step number `step`, counted from 0.
    void add(const Context& context, uint64_t seed, uint64_t step) const;

    // What add() takes per worker.
    size_t scratch_bytes() const { return Scratch::bytes<float>(longest_row_); }

  private:
    // A convolution's weights as runs of numbers without gaps: its outputs for each tap and input; of the head,
    // which lies the other way round, its inputs for each output.
    struct Rows {
        const Parameter* parameter;
        uint64_t tensor;  // its number among all parameters
        int count, length;
        size_t start(int row) const;
        size_t blocks() const { return ((size_t)length + 3) / 4; }  // of a row, four values each
    };

    double deviation(const Rows& rows) const;
    void add_to(const Context& context, const Rows& rows, uint64_t seed, uint64_t step, float* noise) const;

    float share_;
    Parameters& parameters_;
    std::vector<Rows> tensors_;  // largest first: each is one task
    size_t longest_row_ = 0;     // in whole blocks
};

}  // namespace dipedge
