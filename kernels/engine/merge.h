// Upsample x2, concatenate with the skip, batch norm: a source that is computed while it is read.
#pragma once

#include "engine/layer.h"

namespace dipedge {

// Physical channel order is the deep part (padded), then the skip part; the description's order (and
// PyTorch's) is skip first. The deep part is cropped to `size` at the end.
struct Merge : Source {
    // skip may be null. Both layers feed nothing else, so their gradients are written here alone.
    Merge(Layer& deep, Layer* skip, int height, int width, bool bilinear, float eps);

    void pack(const Kernels& kernels, int row, int begin, int end, int step, float* to, ptrdiff_t stride,
              float* scratch) const override;
    void finish_gradient(const Kernels& kernels, int slab, int row, int begin, int end,
                         float* scratch) override;
    size_t scratch_floats() const override;
    int depth() const override;
    int place_of(int channel) const override;
    Norm* own_norm() override { return &norm; }
    std::vector<Buffer*> reads() const override;
    size_t backward_scratch_floats() const { return (size_t)(tile_width + 8) * deep_.size.padded * 6; }
    Layer& deep() const { return deep_; }
    Layer* skip() const { return skip_; }

    // The statistics of the concatenated picture.
    void forward(const Context& context);

    // From d (by the norm's output) to the gradients of both layers, and their norms' backward.
    void backward(const Context& context);

    Norm norm;

  private:
    void pack_scaled(const Kernels& kernels, int row, int begin, int end, const float* scale,
                     const float* shift, float* to, ptrdiff_t stride, float* scratch) const;
    void pack_deep(const Kernels& kernels, int row, int begin, int end, const float* scale,
                   const float* shift, float* to, ptrdiff_t stride, float* scratch) const;
    void skip_backward(const Context& context);
    void deep_backward(const Context& context);
    void deep_tile(const Context& context, int slab, int begin, int end, float* scratch);

    Layer& deep_;
    Layer* skip_;
    bool bilinear_;
    std::vector<float> ones_, zeros_;  // the identity in place of the norm's affine map
};

}  // namespace dipedge
