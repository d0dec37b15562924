// Upsample x2, concatenate with the skip, batch norm: a source that is computed while it is read.
#pragma once

#include "engine/layer.h"
#include "engine/sampling.h"

namespace dipedge {

// Physical channel order is the deep part (padded), then the skip part; the description's order (and
// PyTorch's) is skip first. The deep part is cropped to `size` at the end.
template <class Cell>
struct Merge : Source<Cell> {
    using Source<Cell>::size;
    using Source<Cell>::d;

    // skip may be null. Both layers feed nothing else, so their gradients are written here alone. With a
    // `sampling` height and width (and the skip's) are the sampled ones, those of the deep part.
    Merge(Layer<Cell>& deep, Layer<Cell>* skip, int height, int width, bool bilinear, float eps,
          const Sampling* sampling = nullptr);

    void pack(const Kernels& kernels, int row, int begin, int end, int step, Cell* to, ptrdiff_t stride,
              Scratch scratch) const override;
    void receive(const Kernels& kernels, int slab, int row, int begin, int end, const float* fresh,
                 ptrdiff_t stride, bool first, bool last, Scratch scratch) override;
    size_t scratch_bytes() const override;
    int depth() const override;
    int place_of(int channel) const override;
    Norm* own_norm() override { return &norm; }
    std::vector<Buffer*> reads() const override;
    size_t backward_scratch_bytes() const { return Scratch::bytes<float>(row_floats() * 7); }
    Layer<Cell>& deep() const { return deep_; }
    Layer<Cell>* skip() const { return skip_; }

    // The statistics of the concatenated picture.
    void forward(const Context& context);

    // From d (by the norm's output) to the gradients of both layers, and their norms' backward.
    void backward(const Context& context);

    Norm norm;

  private:
    // The widest row a convolution asks for has tile_width + 6 pixels.
    size_t row_floats() const { return (size_t)(tile_width + 8) * size.padded; }
    struct LowerRows {
        int near, far;
    };
    LowerRows lower_rows(int row) const;
    const int* positions() const { return sampling_ ? sampling_->columns().data() : nullptr; }
    void blend_deep(const Kernels& kernels, int row, int begin, int end, const float* scale,
                    const float* shift, float* to) const;
    void pack_raw(const Kernels& kernels, int row, int begin, int end, float* to, Scratch scratch) const;
    void pack_raw_deep(const Kernels& kernels, int row, int begin, int end, float* to, ptrdiff_t stride,
                       Scratch scratch) const;
    void skip_backward(const Context& context);
    void deep_backward(const Context& context);
    void deep_tile(const Context& context, int slab, int begin, int end, Scratch scratch);
    void sampled_tile(const Context& context, int slab, int begin, int end, Scratch scratch);
    void unmixed_row(const Kernels& kernels, int row, int first, int last, float* raw, Scratch scratch) const;

    Layer<Cell>& deep_;
    Layer<Cell>* skip_;
    bool bilinear_;
    const Sampling* sampling_;
    std::vector<float> ones_, zeros_;  // the identity in place of the norm's affine map
};

}  // namespace dipedge
