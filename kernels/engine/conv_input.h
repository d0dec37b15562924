// Gradient of the k x k convolution by its input; the part of Conv that conv.cpp includes. The
// transposed convolution, gathered: every input row
// lists the output rows that used it, its own and those that saw it through the reflected border.
#pragma once

#include "engine/conv.h"
#include "engine/conv_tile.h"

namespace dipedge {
namespace {

// The taps by which input row `row` received gradient: pairs of output row and kernel row.
struct RowUse {
    int output_row, ky;
};

int find_uses(int row, const Geometry& in, const Geometry& out, const ConvShape& shape, RowUse* uses) {
    const int margin = (shape.kernel - 1) / 2;
    int count = 0;
    const auto add_seen = [&](int seen) {
        for (int ky = 0; ky < shape.kernel; ++ky) {
            const int at = seen + margin - ky;
            if (at < 0 || at % shape.stride || at / shape.stride >= out.height) continue;
            uses[count++] = {at / shape.stride, ky};
        }
    };
    add_seen(row);
    for (int away = 1; shape.reflect && away <= margin; ++away) {
        for (const int seen : {-away, in.height - 1 + away}) {
            if (reflect(seen, in.height) == row) add_seen(seen);
        }
    }
    return count;
}

// A ring of rows of the output's gradient, zero beyond its borders, columns [first, last].
template <class Cell>
class GradientRing {
  public:
    GradientRing(const Kernels& kernels, const OutputGradient<Cell>& from, int slots, int first, int last,
                 Scratch& scratch)
        : kernels_(kernels), from_(from), slots_(slots), first_(first), last_(last) {
        memory_ = scratch.template take<Cell>(slots * row_cells());
        for (int& row : held_) row = -1;
    }

    // The pixel at column `column` of row `row`.
    const Cell* at(int row, int column) {
        const size_t pixel = from_.size.padded;
        Cell* to = memory_ + (size_t)(row % slots_) * row_cells();
        if (held_[row % slots_] != row) {
            const int begin = std::max(first_, 0), end = std::min(last_ + 1, from_.size.width);
            std::memset(to, 0, sizeof(Cell) * row_cells());
            from_.pack(kernels_, row, begin, end, to + (size_t)(begin - first_) * pixel);
            held_[row % slots_] = row;
        }
        return to + (ptrdiff_t)(column - first_) * (ptrdiff_t)pixel;
    }

  private:
    size_t row_cells() const { return (size_t)(last_ - first_ + 1) * from_.size.padded; }

    const Kernels& kernels_;
    const OutputGradient<Cell>& from_;
    int slots_, first_, last_;
    Cell* memory_;
    int held_[8];
};

int floor_div(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

}  // namespace

template <class Cell>
void Conv<Cell>::input_gradient(const Context& context, const OutputGradient<Cell>& from, bool first,
                                bool last) {
    const Slabs slabs(source_.size);
    context.pool->run(slabs.count, [&](int slab, int worker) {
        for_tiles(source_.size.width, [&](int begin, int end) {
            const Tile tile{slab, slabs.begin(slab), slabs.end(slab), begin, end};
            input_tile(context, from, tile, first, last, context.scratch_of(worker));
        });
    });
}

template <class Cell>
void Conv<Cell>::input_tile(const Context& context, const OutputGradient<Cell>& from, const Tile& tile,
                            bool first, bool last, Scratch scratch) {
    const ConvKernels<Cell>& kernels = *context.of<Cell>().conv;
    const Geometry& in = source_.size;
    const int k = shape_.kernel, stride = shape_.stride, reach = shape_.reflect ? margin() : 0;
    // Columns as the padded picture has them: a tile also collects what was seen of it by reflection.
    const int seen_begin = tile.begin <= reach ? -reach : tile.begin;
    const int seen_end = tile.end >= in.width - reach ? in.width + reach : tile.end;
    GradientRing<Cell> ring(*context.kernels, from, k, floor_div(seen_begin + margin() - k + 1, stride),
                            floor_div(seen_end - 1 + margin(), stride), scratch);
    float* border = scratch.template take<float>(in.padded);
    float* fresh = scratch.template take<float>((size_t)tile.columns() * in.padded);
    RowUse uses[64];
    Tap<Cell> tap[64 * 7];
    // Writes to `to` the gradient of `count` columns seen, seen + stride, ...
    const auto collect = [&](int use_count, int seen, int count, float* to) {
        int taps_used = 0;
        for (int u = 0; u < use_count; ++u) {
            for (int kx = 0; kx < k; ++kx) {
                const int at = seen + margin() - kx;
                if (at % stride) continue;
                const size_t index = (size_t)uses[u].ky * k + kx;
                tap[taps_used++] = {ring.at(uses[u].output_row, floor_div(at, stride)),
                                    packed_transposed((int)index)};
            }
        }
        if (taps_used) {
            kernels.multiply(tap, taps_used, out_.channels, in.padded, count, out_.padded, to,
                             (ptrdiff_t)stride * in.padded, false);
            return;
        }
        for (int i = 0; i < count; ++i) {
            std::memset(to + (size_t)i * stride * in.padded, 0, sizeof(float) * in.padded);
        }
    };
    for (int row = tile.row_begin; row < tile.row_end; ++row) {
        const int use_count = find_uses(row, in, out_, shape_, uses);
        for (int phase = 0; phase < stride; ++phase) {
            const int count = (tile.columns() - phase + stride - 1) / stride;
            if (count > 0) {
                collect(use_count, tile.begin + phase, count, fresh + (size_t)phase * in.padded);
            }
        }
        for (int away = 1; away <= reach; ++away) {
            for (const int seen : {-away, in.width - 1 + away}) {
                const int column = reflect(seen, in.width);
                if (column < tile.begin || column >= tile.end) continue;
                collect(use_count, seen, 1, border);
                context.kernels->fp32.conv->add(border, in.padded,
                                                fresh + (size_t)(column - tile.begin) * in.padded);
            }
        }
        source_.receive(*context.kernels, tile.slab, row, tile.begin, tile.end, fresh, in.padded, first, last,
                        scratch);
    }
}

}  // namespace dipedge
