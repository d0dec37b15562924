// The padded convolution over whole pictures: forward, gradient by the weights, gradient by the input.
#pragma once

#include <vector>

#include "conv_norm_act/cpu.h"
#include "engine/layer.h"

namespace dipedge {

template <class Cell>
class Tail;

// Where the gradient by a convolution's output comes from: rows made on the fly by a layer's batch norm
// or by the network's tail, or a plain picture (behind a separate decimation).
template <class Cell>
struct OutputGradient {
    const Layer<Cell>* layer = nullptr;
    const Tail<Cell>* tail = nullptr;
    Buffer* plain = nullptr;
    Geometry size;

    explicit OutputGradient(const Layer<Cell>* layer) : layer(layer), size(layer->size) {}
    explicit OutputGradient(const Tail<Cell>& tail);
    OutputGradient(Buffer* plain, Geometry size) : plain(plain), size(size) {}

    std::vector<Buffer*> reads() const;
    void pack(const Kernels& kernels, int row, int begin, int end, Cell* to) const;
};

struct ConvShape {
    int kernel = 1, stride = 1;
    bool reflect = true;  // else zero padding
};

template <class Cell>
class Conv {
  public:
    // weights, gradient: [kernel * kernel][depth][out.padded] in the flat parameter arrays; the depth
    // is source.depth(), rows in the source's physical channel order.
    Conv(Source<Cell>& source, int out_channels, ConvShape shape);
    virtual ~Conv() = default;

    static Geometry output_size(const Geometry& in, int out_channels, int stride);

    const Geometry& out() const { return out_; }
    const ConvShape& shape() const { return shape_; }
    Source<Cell>& source() const { return source_; }
    int depth() const { return depth_; }
    size_t weight_floats() const { return (size_t)taps() * depth_ * out_.padded; }
    virtual size_t partial_floats() const;  // workspace of the weight gradient
    virtual size_t scratch_bytes() const;   // per worker

    void set_parameters(const float* weights, float* gradient) { weights_ = weights, gradient_ = gradient; }

    // Repacks the weights for both directions; once after every update.
    virtual void pack_weights(const Context& context);

    // The packed weights of tap ky * kernel + kx, for the forward pass and for the gradient by the input.
    const Cell* packed(int tap) const { return packed_.data() + tap * forward_cells_; }
    const Cell* packed_transposed(int tap) const { return packed_transposed_.data() + tap * backward_cells_; }

    // y = conv(source); adds y's moments to `norm` when given, and finishes it.
    virtual void forward(const Context& context, Buffer* y, Norm* norm);

    // Both gradients. `partials` is workspace. When the source wants its gradient: the first consumer
    // overwrites source.d, later ones add to it, and the last finishes it.
    virtual void backward(const Context& context, const OutputGradient<Cell>& from, Buffer* partials,
                          bool first, bool last);

  protected:
    struct Tile;
    // Before anything is derived from the output's size.
    void resize(int height, int width) { out_.height = height, out_.width = width; }
    const float* weights() const { return weights_; }
    float* gradient() const { return gradient_; }
    int taps() const { return shape_.kernel * shape_.kernel; }
    int margin() const { return (shape_.kernel - 1) / 2; }

    // Whether one pass over the pixels makes both gradients.
    virtual bool pointwise() const { return shape_.kernel == 1; }
    Slabs weight_slabs() const;

    // The slab's rows of a tile of y; of the weight gradient's taps in rows [first_ky, last_ky); of the
    // gradient by the input.
    virtual void forward_tile(const Context& context, const Tile& tile, Buffer* y, Norm* norm,
                              Scratch scratch);
    virtual void weight_tile(const Context& context, const OutputGradient<Cell>& from, const Tile& tile,
                             int first_ky, int last_ky, float* dw, Scratch scratch);
    virtual void input_gradient(const Context& context, const OutputGradient<Cell>& from, bool first,
                                bool last);

  private:
    size_t row_pixels() const { return (size_t)tile_width * shape_.stride + shape_.kernel; }
    bool tap_rows_split() const;
    void weight_gradient(const Context& context, const OutputGradient<Cell>& from, Buffer* partials);
    void add_partials(const Context& context, const Buffer* partials, int count);
    void input_tile(const Context& context, const OutputGradient<Cell>& from, const Tile& tile, bool first,
                    bool last, Scratch scratch);
    void pointwise_backward(const Context& context, const OutputGradient<Cell>& from, Buffer* partials,
                            bool first, bool last);
    void pointwise_slab(const Context& context, const OutputGradient<Cell>& from, int slab, float* dw,
                        bool first, bool last, Scratch scratch);

    Source<Cell>& source_;
    ConvShape shape_;
    Geometry out_;
    int depth_;
    const float* weights_ = nullptr;
    float* gradient_ = nullptr;
    size_t forward_cells_ = 0, backward_cells_ = 0;  // of one tap's packed weights
    std::vector<Cell> packed_, packed_transposed_;
};

}  // namespace dipedge
