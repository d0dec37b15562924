#include "engine/conv.h"

#include "conv_norm_act/cpu.h"
#include "engine/conv_tile.h"
#include "engine/tail.h"

namespace dipedge {

OutputGradient::OutputGradient(const Tail& tail) : tail(&tail), size(tail.last().size) {}

std::vector<Buffer*> OutputGradient::reads() const {
    if (tail) return {tail->last().y, tail->logit_gradient()};
    if (layer) return {layer->y, layer->d};
    return {plain};
}

void OutputGradient::pack(const Kernels& kernels, int row, int begin, int end, float* to) const {
    if (tail) return tail->pack_gradient(kernels, row, begin, end, to);
    const size_t offset = (size_t)begin * size.padded;
    if (plain) {
        const float* from = plain->data + (size_t)row * size.width * size.padded + offset;
        std::memcpy(to, from, sizeof(float) * (end - begin) * size.padded);
        return;
    }
    const Norm& norm = layer->norm;
    kernels.conv->norm_backward(layer->d_row(row) + offset, size.padded, layer->y_row(row) + offset,
                                size.padded, end - begin, size.padded, norm.a.data(), norm.b.data(),
                                norm.c.data(), to, size.padded);
}

Geometry Conv::output_size(const Geometry& in, int out_channels, int stride) {
    return Geometry((in.height + stride - 1) / stride, (in.width + stride - 1) / stride, out_channels);
}

Conv::Conv(Source& source, int out_channels, ConvShape shape)
    : source_(source),
      shape_(shape),
      out_(output_size(source.size, out_channels, shape.stride)),
      depth_(source.depth()) {
    packed_.resize(weight_floats());
    packed_transposed_.resize((size_t)taps() * source.size.padded * out_.channels);
}

// Few slabs: each has a whole weight gradient of its own (590 KB for 3x3 of 128 x 128) to be cleared,
// written and added up.
Slabs Conv::weight_slabs() const { return Slabs(out_, 2048); }

// A small picture has fewer slabs than there may be cores; then each task takes one row of taps.
bool Conv::tap_rows_split() const { return shape_.kernel > 1 && weight_slabs().count < 8; }

size_t Conv::partial_floats() const {
    const Slabs slabs = shape_.kernel == 1 ? Slabs(source_.size) : weight_slabs();
    return (size_t)slabs.count * weight_floats();
}

size_t Conv::scratch_floats() const {
    const size_t source_row = (size_t)(tile_width * shape_.stride + shape_.kernel) * source_.size.padded;
    const size_t gradient_row = (size_t)(tile_width + 4 * shape_.kernel) * out_.padded;
    const size_t border = source_.size.padded;
    return std::max((size_t)shape_.kernel * source_row + gradient_row,
                    (size_t)(shape_.kernel + 1) * gradient_row) +
           border + source_.scratch_floats() + 64;
}

void Conv::pack_weights(const Context& context) {
    const size_t forward_floats = (size_t)depth_ * out_.padded;
    const size_t backward_floats = (size_t)source_.size.padded * out_.channels;
    context.pool->run(taps(), [&](int tap, int) {
        const float* weights = weights_ + tap * forward_floats;
        context.kernels->conv->pack(weights, out_.padded, depth_, out_.padded,
                                    packed_.data() + tap * forward_floats);
        if (!source_.d) return;
        context.kernels->conv->pack_transposed(weights, out_.padded, depth_, out_.channels,
                                               source_.size.padded,
                                               packed_transposed_.data() + tap * backward_floats);
    });
}

void Conv::forward(const Context& context, Buffer* y, Norm* norm) {
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

void Conv::forward_tile(const Context& context, const Tile& tile, Buffer* y, Norm* norm, float* scratch) {
    const ConvKernels& kernels = *context.kernels->conv;
    const int k = shape_.kernel;
    float* memory = scratch + source_.scratch_floats();
    RowRing ring(*context.kernels, source_, shape_, tile.begin, tile.end, memory, scratch);
    Tap tap[49];
    for (int row = tile.row_begin; row < tile.row_end; ++row) {
        for (int ky = 0; ky < k; ++ky) {
            const float* packed_row = ring.row(row * shape_.stride - margin() + ky);
            for (int kx = 0; kx < k; ++kx) {
                const size_t index = (size_t)ky * k + kx;
                tap[index] = {packed_row + (size_t)kx * source_.size.padded,
                              packed_.data() + index * depth_ * out_.padded};
            }
        }
        float* to = y->data + ((size_t)row * out_.width + tile.begin) * out_.padded;
        kernels.multiply(tap, taps(), depth_, out_.padded, tile.columns(),
                         (ptrdiff_t)ring.pixel_step() * source_.size.padded, to, out_.padded, false);
        if (norm) {
            kernels.moments(to, out_.padded, tile.columns(), out_.padded, norm->slab_sums(tile.slab));
        }
    }
}

void Conv::backward(const Context& context, const OutputGradient& from, Buffer* partials, bool first,
                    bool last) {
    Norm* norm = source_.d ? source_.own_norm() : nullptr;
    if (norm && last) norm->clear_sums();
    if (shape_.kernel == 1) {
        pointwise_backward(context, from, partials, first, last);
    } else {
        weight_gradient(context, from, partials);
        if (source_.d) input_gradient(context, from, first, last);
    }
    if (norm && last) norm->finish_backward();
}

}  // namespace dipedge
