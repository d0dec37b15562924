// Gradient of the convolution by its weights; the part of Conv that conv.cpp includes. An outer product per
// tap, summed over pixels, kept per slab and added up in order; for pointwise convolutions together with
// the gradient by the input.
#pragma once

#include "engine/conv.h"
#include "engine/conv_tile.h"

namespace dipedge {
template <class Cell>
void Conv<Cell>::weight_tile(const Context& context, const OutputGradient<Cell>& from, const Tile& tile,
                             int first_ky, int last_ky, float* dw, Scratch scratch) {
    const ConvKernels<Cell>& kernels = *context.of<Cell>().conv;
    const int k = shape_.kernel;
    RowRing<Cell> ring(*context.kernels, source_, shape_, tile.begin, tile.end, true, scratch);
    GradientRow<Cell> gradient(kernels, tile.columns(), out_.padded, scratch);
    for (int row = tile.row_begin; row < tile.row_end; ++row) {
        from.pack(*context.kernels, row, tile.begin, tile.end, gradient.plain);
        gradient.turn(kernels, tile.columns(), out_.padded);
        for (int ky = first_ky; ky < last_ky; ++ky) {
            const Cell* left = ring.row(row * shape_.stride - margin() + ky);
            for (int kx = 0; kx < k; ++kx) {
                kernels.multiply_outer(left, ring.pixels(), source_.size.padded, ring.step(), kx, depth_,
                                       gradient.turned, out_.padded, tile.columns(),
                                       dw + (size_t)(ky * k + kx) * depth_ * out_.padded, out_.padded);
            }
        }
    }
}

template <class Cell>
void Conv<Cell>::weight_gradient(const Context& context, const OutputGradient<Cell>& from, Buffer* partials) {
    const Slabs slabs = weight_slabs();
    const int k = shape_.kernel, parts = tap_rows_split() ? k : 1;
    const size_t row_floats = (size_t)k * depth_ * out_.padded;  // one row of taps
    context.pool->run(slabs.count * parts, [&](int task, int worker) {
        const int slab = task / parts, part = task % parts;
        const int first_ky = parts == 1 ? 0 : part, last_ky = parts == 1 ? k : part + 1;
        float* dw = partials->data + slab * weight_floats();
        std::memset(dw + first_ky * row_floats, 0, sizeof(float) * (last_ky - first_ky) * row_floats);
        for_tiles(out_.width, [&](int begin, int end) {
            const Tile tile{slab, slabs.begin(slab), slabs.end(slab), begin, end};
            weight_tile(context, from, tile, first_ky, last_ky, dw, context.scratch_of(worker));
        });
    });
    add_partials(context, partials, slabs.count);
}

template <class Cell>
void Conv<Cell>::add_partials(const Context& context, const Buffer* partials, int count) {
    const int parts = 16;
    const size_t floats = weight_floats(), share = (floats / parts + 15) / 16 * 16;
    context.pool->run(parts + 1, [&](int part, int) {
        const size_t begin = part * share, end = std::min(floats, begin + share);
        if (begin >= end) return;
        std::memcpy(gradient_ + begin, partials->data + begin, sizeof(float) * (end - begin));
        for (int slab = 1; slab < count; ++slab) {
            context.kernels->fp32.conv->add(partials->data + slab * floats + begin, end - begin,
                                            gradient_ + begin);
        }
    });
}

// Slabs are the source's, so that its sums are kept as in the forward pass; with stride 2 a slab owns the
// output rows whose source row lies in it.
template <class Cell>
void Conv<Cell>::pointwise_backward(const Context& context, const OutputGradient<Cell>& from,
                                    Buffer* partials, bool first, bool last) {
    const Slabs slabs(source_.size);
    context.pool->run(slabs.count, [&](int slab, int worker) {
        float* dw = partials->data + slab * weight_floats();
        std::memset(dw, 0, sizeof(float) * weight_floats());
        pointwise_slab(context, from, slab, dw, first, last, context.scratch_of(worker));
    });
    add_partials(context, partials, slabs.count);
}

template <class Cell>
void Conv<Cell>::pointwise_slab(const Context& context, const OutputGradient<Cell>& from, int slab, float* dw,
                                bool first, bool last, Scratch scratch) {
    const ConvKernels<Cell>& kernels = *context.of<Cell>().conv;
    const Geometry& in = source_.size;
    const int stride = shape_.stride;
    const Slabs slabs(in);
    const int widest = std::min(tile_width, out_.width);
    GradientRow<Cell> gradient(kernels, widest, out_.padded, scratch);
    Cell* packed = scratch.template take<Cell>((size_t)widest * in.padded);
    Cell* left = packed;
    if (kernels.turns) left = scratch.template take<Cell>(kernels.left_size(widest, in.padded, 1));
    float* fresh = scratch.template take<float>((size_t)widest * stride * in.padded);
    for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
        const int frame = row / in.frame_height(), row_in_frame = row % in.frame_height();
        const bool used = row_in_frame % stride == 0;
        const int out_row = frame * out_.frame_height() + row_in_frame / stride;
        for_tiles(out_.width, [&](int begin, int end) {
            const int count = end - begin, in_begin = begin * stride,
                      in_end = std::min(in.width, end * stride);
            if (used) {
                from.pack(*context.kernels, out_row, begin, end, gradient.plain);
                gradient.turn(kernels, count, out_.padded);
                source_.pack(*context.kernels, row, in_begin, in_end, stride, packed, in.padded, scratch);
                if (kernels.turns) kernels.turn_left(packed, count, in.padded, 1, left);
                kernels.multiply_outer(left, count, in.padded, 1, 0, depth_, gradient.turned, out_.padded,
                                       count, dw, out_.padded);
            }
            if (!source_.d) return;
            if (!used || stride > 1) {
                std::memset(fresh, 0, sizeof(float) * (in_end - in_begin) * in.padded);
            }
            if (used) {
                const Tap<Cell> tap{gradient.plain, packed_transposed_.data()};
                kernels.multiply(&tap, 1, out_.channels, in.padded, count, out_.padded, fresh,
                                 (ptrdiff_t)stride * in.padded, false);
            }
            source_.receive(*context.kernels, slab, row, in_begin, in_end, fresh, in.padded, first, last,
                            scratch);
        });
    }
}

}  // namespace dipedge
