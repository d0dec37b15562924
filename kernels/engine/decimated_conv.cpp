#include "engine/decimated_conv.h"

#include "conv_norm_act/cpu.h"
#include "engine/conv_tile.h"
#include "engine/filtered_rows.h"
#include "engine/gradient_lines.h"

namespace dipedge {

namespace {

// Source columns of one tile of the gradient by the input. A tile's lines reach over its border, so wide
// tiles multiply less: 101 output columns for 192 source columns, 53 for 96.
constexpr int source_tile = 2 * tile_width;

// The same from top to bottom: a task takes slabs until it has this many rows.
constexpr int least_rows = 16;

}  // namespace

template <class Cell>
DecimatedConv<Cell>::DecimatedConv(Source<Cell>& source, int out_channels, int kernel, bool reflect,
                                   const DecimationFilter& filter)
    : Conv<Cell>(source, out_channels, ConvShape{kernel, filter.step, reflect}),
      rows_(source.size.height, filter, kernel, reflect, source.size.frames),
      columns_(source.size.width, filter, kernel, reflect) {}

// Filtered rows beside a tile of sums (forward), or beside a gradient row and its turned copy (backward).
template <class Cell>
size_t DecimatedConv<Cell>::scratch_bytes() const {
    const size_t row = (size_t)(tile_width + 32) * out().padded;
    const size_t beside = 2 * Scratch::bytes<Cell>(row) + Scratch::bytes<float>(row);
    const size_t products = FilteredRows<Cell>::bytes(source(), rows_, columns_, tile_width) + beside;
    const size_t floats = (size_t)std::min(source_tile, source().size.width) * source().size.padded;
    const size_t lines = GradientLines<Cell>::bytes(*this, rows_, columns_, source_tile) +
                         Scratch::bytes<float>(floats) + Scratch::bytes<const float*>(rows_.most_uses()) +
                         source().scratch_bytes();
    return std::max(products, source().d ? lines : 0) + 1024;
}

template <class Cell>
void DecimatedConv<Cell>::forward_tile(const Context& context, const Tile& tile, Buffer* y, Norm* norm,
                                       Scratch scratch) {
    const ConvKernels<Cell>& kernels = *context.of<Cell>().conv;
    const int k = shape().kernel, pixel = source().size.padded;
    FilteredRows<Cell> filtered(*context.kernels, source(), rows_, columns_, shape().reflect, tile.begin,
                                tile.end, false, scratch);
    float* sums = scratch.take<float>((size_t)tile.columns() * out().padded);
    Tap<Cell> tap[49];
    for (int row = tile.row_begin; row < tile.row_end; ++row) {
        for (int ky = 0; ky < k; ++ky) {
            const Cell* points = filtered.row(row, ky);
            for (int kx = 0; kx < k; ++kx) {
                tap[ky * k + kx] = {points + (size_t)kx * pixel, packed(ky * k + kx)};
            }
        }
        kernels.multiply(tap, k * k, depth(), out().padded, tile.columns(), (ptrdiff_t)k * pixel, sums,
                         out().padded, false);
        Cell* to = y->as<Cell>() + ((size_t)row * out().width + tile.begin) * out().padded;
        kernels.store(sums, out().padded, tile.columns(), out().padded, to, out().padded,
                      norm ? norm->slab_sums(tile.slab) : nullptr);
    }
}

// The gradient by a tap's weights is the outer product of y's gradient and that tap's points: a step^2-th
// of the pixels that it has at full size.
template <class Cell>
void DecimatedConv<Cell>::weight_tile(const Context& context, const OutputGradient<Cell>& from,
                                      const Tile& tile, int first_ky, int last_ky, float* dw,
                                      Scratch scratch) {
    const ConvKernels<Cell>& kernels = *context.of<Cell>().conv;
    const int k = shape().kernel, pixel = source().size.padded;
    FilteredRows<Cell> filtered(*context.kernels, source(), rows_, columns_, shape().reflect, tile.begin,
                                tile.end, true, scratch);
    GradientRow<Cell> gradient(kernels, tile.columns(), out().padded, scratch);
    for (int row = tile.row_begin; row < tile.row_end; ++row) {
        from.pack(*context.kernels, row, tile.begin, tile.end, gradient.plain);
        gradient.turn(kernels, tile.columns(), out().padded);
        for (int ky = first_ky; ky < last_ky; ++ky) {
            const Cell* left = filtered.row(row, ky);
            for (int kx = 0; kx < k; ++kx) {
                kernels.multiply_outer(left, filtered.pixels(), pixel, k, kx, depth(), gradient.turned,
                                       out().padded, tile.columns(),
                                       dw + (size_t)(ky * k + kx) * depth() * out().padded, out().padded);
            }
        }
    }
}

template <class Cell>
void DecimatedConv<Cell>::input_gradient(const Context& context, const OutputGradient<Cell>& from, bool first,
                                         bool last) {
    const Slabs slabs(source().size);
    const int together = (least_rows + slabs.rows - 1) / slabs.rows;
    context.pool->run((slabs.count + together - 1) / together, [&](int task, int worker) {
        for (int begin = 0; begin < source().size.width; begin += source_tile) {
            const int end = std::min(begin + source_tile, source().size.width);
            input_tile(context, from, task * together, together, begin, end, first, last,
                       context.scratch_of(worker));
        }
    });
}

// A source row's gradient is the sum of the lines it takes part in.
template <class Cell>
void DecimatedConv<Cell>::input_tile(const Context& context, const OutputGradient<Cell>& from, int first_slab,
                                     int slab_count, int begin, int end, bool first, bool last,
                                     Scratch scratch) {
    const Slabs slabs(source().size);
    const size_t pixel = source().size.padded;
    GradientLines<Cell> lines(*context.kernels, from, *this, rows_, columns_, begin, end, scratch);
    float* fresh = scratch.take<float>(lines.line_floats());
    const float** used = scratch.take<const float*>(rows_.most_uses());
    for (int slab = first_slab; slab < std::min(first_slab + slab_count, slabs.count); ++slab) {
        for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
            const int uses = rows_.uses(row), count = rows_.uses(row + 1) - uses;
            for (int i = 0; i < count; ++i) used[i] = lines.line(rows_.use_point()[uses + i]);
            context.kernels->fp32.filter->sum_rows(used, rows_.use_weight() + uses, count,
                                                   lines.line_floats(), fresh);
            for (int x = begin; x < end; x += tile_width) {  // as wide as sources are made for
                source().receive(*context.kernels, slab, row, x, std::min(x + tile_width, end),
                                 fresh + (size_t)(x - begin) * pixel, (ptrdiff_t)pixel, first, last, scratch);
            }
        }
    }
}

template class DecimatedConv<float>;
template class DecimatedConv<bf16>;

}  // namespace dipedge
