#include "engine/conv.h"

#include "engine/conv_backward.h"
#include "engine/conv_input.h"
#include "engine/conv_tile.h"
#include "engine/tail.h"

namespace dipedge {

template <class Cell>
OutputGradient<Cell>::OutputGradient(const Tail<Cell>& tail) : tail(&tail), size(tail.last().size) {}

template <class Cell>
std::vector<Buffer*> OutputGradient<Cell>::reads() const {
    if (tail) return {tail->last().y, tail->logit_gradient()};
    if (layer) return {layer->y, layer->d};
    return {plain};
}

template <class Cell>
void OutputGradient<Cell>::pack(const Kernels& kernels, int row, int begin, int end, Cell* to) const {
    if (tail) return tail->pack_gradient(kernels, row, begin, end, to);
    const size_t offset = (size_t)begin * size.padded;
    if (plain) {
        const Cell* from = plain->as<Cell>() + (size_t)row * size.width * size.padded + offset;
        std::memcpy(to, from, sizeof(Cell) * (end - begin) * size.padded);
        return;
    }
    const Norm& norm = layer->norm;
    kernels.of<Cell>().conv->norm_backward(layer->d_row(row) + offset, size.padded,
                                           layer->y_row(row) + offset, size.padded, end - begin, size.padded,
                                           norm.a.data(), norm.b.data(), norm.c.data(), to, size.padded);
}

template <class Cell>
Geometry Conv<Cell>::output_size(const Geometry& in, int out_channels, int stride) {
    const int rows = in.frames * ((in.frame_height() + stride - 1) / stride);
    Geometry out(rows, (in.width + stride - 1) / stride, out_channels, channel_block<Cell>);
    out.frames = in.frames;
    return out;
}

template <class Cell>
Conv<Cell>::Conv(Source<Cell>& source, int out_channels, ConvShape shape)
    : source_(source),
      shape_(shape),
      out_(output_size(source.size, out_channels, shape.stride)),
      depth_(source.depth()) {}

// Few slabs: each has a whole weight gradient of its own (590 KB for 3x3 of 128 x 128) to be cleared,
// written and added up.
template <class Cell>
Slabs Conv<Cell>::weight_slabs() const {
    return Slabs(out_, 2048);
}

// A small picture has fewer slabs than there may be cores; then each task takes one row of taps.
template <class Cell>
bool Conv<Cell>::tap_rows_split() const {
    return shape_.kernel > 1 && weight_slabs().count < 8;
}

template <class Cell>
size_t Conv<Cell>::partial_floats() const {
    const Slabs slabs = pointwise() ? Slabs(source_.size) : weight_slabs();
    return (size_t)slabs.count * weight_floats();
}

// A bound on what any of the passes takes: a ring of source rows, a ring of gradient rows with their
// turned copy, and a tile of float32 sums with its border.
template <class Cell>
size_t Conv<Cell>::scratch_bytes() const {
    const size_t gradient_row = Scratch::bytes<Cell>((row_pixels() + 4 * shape_.kernel + 32) * out_.padded);
    const size_t sums =
        (row_pixels() + 2 * shape_.kernel) * (size_t)std::max(source_.size.padded, out_.padded);
    return RowRing<Cell>::bytes(source_, shape_, row_pixels()) + (shape_.kernel + 2) * gradient_row +
           Scratch::bytes<float>(sums) + source_.scratch_bytes() + 1024;
}

template <class Cell>
void Conv<Cell>::pack_weights(const Context& context) {
    const ConvKernels<Cell>& kernels = *context.of<Cell>().conv;
    const size_t tap_floats = (size_t)depth_ * out_.padded;
    if (packed_.empty()) {
        forward_cells_ = kernels.packed_size(depth_, out_.padded);
        backward_cells_ = source_.d ? kernels.packed_size(out_.channels, source_.size.padded) : 0;
        packed_.resize(taps() * forward_cells_);
        packed_transposed_.resize(taps() * backward_cells_);
    }
    context.pool->run(taps(), [&](int tap, int) {
        const float* weights = weights_ + tap * tap_floats;
        kernels.pack(weights, out_.padded, depth_, out_.padded, packed_.data() + tap * forward_cells_);
        if (!source_.d) return;
        kernels.pack_transposed(weights, out_.padded, depth_, out_.channels, source_.size.padded,
                                packed_transposed_.data() + tap * backward_cells_);
    });
}

template <class Cell>
void Conv<Cell>::forward(const Context& context, Buffer* y, Norm* norm) {
    if (norm) norm->clear_sums();
    const Slabs slabs(out_);
    context.pool->run(slabs.count, [&](int slab, int worker) {
        for_tiles(out_.width, [&](int begin, int end) {
            const Tile tile{slab, slabs.begin(slab), slabs.end(slab), begin, end};
            forward_tile(context, tile, y, norm, context.scratch_of(worker));
        });
    });
    if (norm) norm->finish_forward();
}

template <class Cell>
void Conv<Cell>::forward_tile(const Context& context, const Tile& tile, Buffer* y, Norm* norm,
                              Scratch scratch) {
    const ConvKernels<Cell>& kernels = *context.of<Cell>().conv;
    const int k = shape_.kernel;
    RowRing<Cell> ring(*context.kernels, source_, shape_, tile.begin, tile.end, false, scratch);
    float* sums = scratch.template take<float>((size_t)tile.columns() * out_.padded);
    Tap<Cell> tap[49];
    for (int row = tile.row_begin; row < tile.row_end; ++row) {
        for (int ky = 0; ky < k; ++ky) {
            const Cell* packed_row =
                ring.row(row_before(row, shape_.stride, source_.size, out_) - margin() + ky);
            for (int kx = 0; kx < k; ++kx) {
                const size_t index = (size_t)ky * k + kx;
                tap[index] = {packed_row + (size_t)kx * source_.size.padded, packed((int)index)};
            }
        }
        kernels.multiply(tap, taps(), depth_, out_.padded, tile.columns(),
                         (ptrdiff_t)ring.step() * source_.size.padded, sums, out_.padded, false);
        Cell* to = y->as<Cell>() + ((size_t)row * out_.width + tile.begin) * out_.padded;
        kernels.store(sums, out_.padded, tile.columns(), out_.padded, to, out_.padded,
                      norm ? norm->slab_sums(tile.slab) : nullptr);
    }
}

template <class Cell>
void Conv<Cell>::backward(const Context& context, const OutputGradient<Cell>& from, Buffer* partials,
                          bool first, bool last) {
    Norm* norm = source_.d ? source_.own_norm() : nullptr;
    if (norm && last) norm->clear_sums();
    if (pointwise()) {
        pointwise_backward(context, from, partials, first, last);
    } else {
        weight_gradient(context, from, partials);
        if (source_.d) input_gradient(context, from, first, last);
    }
    if (norm && last) norm->finish_backward();
}

template struct OutputGradient<float>;
template struct OutputGradient<bf16>;
template class Conv<float>;
template class Conv<bf16>;

}  // namespace dipedge
