// Separable Lanczos decimation of a whole picture, forward and adjoint: what the data term of
// super-resolution does to an output. Behind a convolution it is one operation: engine/decimated_conv.h.
#pragma once

#include <vector>

#include "engine/tensor.h"

namespace dipedge {

// Normalised 1-d Lanczos weights for decimation by `scale`: 2 * lobes * scale of them with phase 1/2,
// one more with phase 0.
std::vector<double> lanczos_weights(int scale, int lobes, bool half_phase);

// Decimation of [height, width, channels] pictures by `scale`, to ceil(height / scale) rows. `channels`
// is what one pixel takes in memory (3 for an output, the padded count for a layer).
class LanczosDecimation {
  public:
    LanczosDecimation(int height, int width, int channels, int scale, int lobes);

    int out_height() const { return out_height_; }
    int out_width() const { return out_width_; }
    size_t workspace_floats() const { return (size_t)out_height_ * width_ * channels_; }

    void forward(const Context& context, const float* from, float* workspace, float* to) const;
    void adjoint(const Context& context, const float* from, float* workspace, float* to) const;

  private:
    int height_, width_, channels_, scale_, pad_, out_height_, out_width_;
    std::vector<float> weights_;
    std::vector<std::vector<std::pair<int, float>>> rows_seen_;  // per input row: output rows, weights
};

}  // namespace dipedge
