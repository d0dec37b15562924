// Gradients of the convolution. By the weights: an outer product per tap, summed over pixels, kept per
// slab and added up in order. By the input: the transposed convolution, gathered: every input row lists
// the output rows that used it, its own and those that saw it through the reflected border.
#include "conv_norm_act/cpu.h"
#include "engine/conv.h"
#include "engine/conv_tile.h"

namespace dipedge {

void Conv::weight_tile(const Context& context, const OutputGradient& from, const Tile& tile, int first_ky,
                       int last_ky, float* dw, float* scratch) {
    const int k = shape_.kernel;
    float* gradient_row = scratch + source_.scratch_floats();
    float* memory = gradient_row + (size_t)tile_width * out_.padded;
    RowRing ring(*context.kernels, source_, shape_, tile.begin, tile.end, memory, scratch);
    for (int row = tile.row_begin; row < tile.row_end; ++row) {
        from.pack(*context.kernels, row, tile.begin, tile.end, gradient_row);
        for (int ky = first_ky; ky < last_ky; ++ky) {
            const float* packed_row = ring.row(row * shape_.stride - margin() + ky);
            for (int kx = 0; kx < k; ++kx) {
                context.kernels->conv->multiply_outer(
                    packed_row + (size_t)kx * source_.size.padded,
                    (ptrdiff_t)ring.pixel_step() * source_.size.padded, depth_, gradient_row, out_.padded,
                    out_.padded, tile.columns(), dw + (size_t)(ky * k + kx) * depth_ * out_.padded,
                    out_.padded);
            }
        }
    }
}

void Conv::weight_gradient(const Context& context, const OutputGradient& from, Buffer* partials) {
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

void Conv::add_partials(const Context& context, const Buffer* partials, int count) {
    const int parts = 16;
    const size_t floats = weight_floats(), share = (floats / parts + 15) / 16 * 16;
    context.pool->run(parts, [&](int part, int) {
        const size_t begin = part * share, end = std::min(floats, begin + share);
        if (begin >= end) return;
        std::memcpy(gradient_ + begin, partials->data + begin, sizeof(float) * (end - begin));
        for (int slab = 1; slab < count; ++slab) {
            context.kernels->conv->add(partials->data + slab * floats + begin, 0, 1, (int)(end - begin),
                                       gradient_ + begin, 0);
        }
    });
}

void Conv::pointwise_backward(const Context& context, const OutputGradient& from, Buffer* partials,
                              bool first, bool last) {
    const ConvKernels& kernels = *context.kernels->conv;
    const int stride = shape_.stride;
    const Geometry& in = source_.size;
    // Slabs of the source, so that its sums are kept as in the forward pass; with stride 2 a slab owns
    // the output rows whose source row lies in it.
    const Slabs slabs(in);
    const size_t floats = weight_floats();
    context.pool->run(slabs.count, [&](int slab, int worker) {
        float* scratch = context.scratch_of(worker);
        float* dw = partials->data + slab * floats;
        float* packed_row = scratch + source_.scratch_floats();
        float* gradient_row = packed_row + (size_t)tile_width * in.padded;
        std::memset(dw, 0, sizeof(float) * floats);
        for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
            const bool used = row % stride == 0;
            for_tiles(out_.width, [&](int begin, int end) {
                const int in_begin = begin * stride, in_end = std::min(in.width, end * stride);
                if (used) {
                    from.pack(*context.kernels, row / stride, begin, end, gradient_row);
                    source_.pack(*context.kernels, row, in_begin, in_end, stride, packed_row, in.padded,
                                 scratch);
                    kernels.multiply_outer(packed_row, in.padded, depth_, gradient_row, out_.padded,
                                           out_.padded, end - begin, dw, out_.padded);
                }
                if (!source_.d) return;
                float* d = source_.d->data + ((size_t)row * in.width + in_begin) * in.padded;
                if (first && (!used || stride > 1)) {
                    std::memset(d, 0, sizeof(float) * (in_end - in_begin) * in.padded);
                }
                if (used) {
                    const Tap tap{gradient_row, packed_transposed_.data()};
                    kernels.multiply(&tap, 1, out_.channels, in.padded, end - begin, out_.padded, d,
                                     (ptrdiff_t)stride * in.padded, !first);
                }
                if (last) source_.finish_gradient(*context.kernels, slab, row, in_begin, in_end, scratch);
            });
        }
    });
    add_partials(context, partials, slabs.count);
}

// The taps by which input row `row` received gradient: pairs of output row and kernel row.
struct RowUse {
    int output_row, ky;
};

static int find_uses(int row, const Geometry& in, const Geometry& out, const ConvShape& shape,
                     RowUse* uses) {
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

void Conv::input_gradient(const Context& context, const OutputGradient& from, bool first, bool last) {
    const Slabs slabs(source_.size);
    context.pool->run(slabs.count, [&](int slab, int worker) {
        for_tiles(source_.size.width, [&](int begin, int end) {
            const Tile tile{slab, slabs.begin(slab), slabs.end(slab), begin, end};
            input_tile(context, from, tile, first, last, context.scratch_of(worker));
        });
    });
}

// A ring of rows of the output's gradient, zero beyond its borders, columns [first, last].
class GradientRing {
  public:
    GradientRing(const Kernels& kernels, const OutputGradient& from, int slots, int first, int last,
                 float* memory)
        : kernels_(kernels), from_(from), slots_(slots), first_(first), last_(last), memory_(memory) {
        for (int& row : held_) row = -1;
    }

    // The pixel at column `column` of row `row`.
    const float* at(int row, int column) {
        const size_t pixel = from_.size.padded;
        float* to = memory_ + (size_t)(row % slots_) * (last_ - first_ + 1) * pixel;
        if (held_[row % slots_] != row) {
            const int begin = std::max(first_, 0), end = std::min(last_ + 1, from_.size.width);
            std::memset(to, 0, sizeof(float) * (last_ - first_ + 1) * pixel);
            from_.pack(kernels_, row, begin, end, to + (size_t)(begin - first_) * pixel);
            held_[row % slots_] = row;
        }
        return to + (ptrdiff_t)(column - first_) * (ptrdiff_t)pixel;
    }

  private:
    const Kernels& kernels_;
    const OutputGradient& from_;
    int slots_, first_, last_;
    float* memory_;
    int held_[8];
};

static int floor_div(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

void Conv::input_tile(const Context& context, const OutputGradient& from, const Tile& tile, bool first,
                      bool last, float* scratch) {
    const Geometry& in = source_.size;
    const int k = shape_.kernel, stride = shape_.stride, reach = shape_.reflect ? margin() : 0;
    // Columns as the padded picture has them: a tile also collects what was seen of it by reflection.
    const int seen_begin = tile.begin <= reach ? -reach : tile.begin;
    const int seen_end = tile.end >= in.width - reach ? in.width + reach : tile.end;
    float* border = scratch + source_.scratch_floats();
    GradientRing ring(*context.kernels, from, k, floor_div(seen_begin + margin() - k + 1, stride),
                      floor_div(seen_end - 1 + margin(), stride), border + in.padded);
    RowUse uses[64];
    Tap tap[64 * 7];
    // Adds to `to` the gradient of `count` columns seen, seen + stride, ...
    const auto collect = [&](const RowUse* use, int use_count, int seen, int count, float* to,
                             bool accumulate) {
        int taps_used = 0;
        for (int u = 0; u < use_count; ++u) {
            for (int kx = 0; kx < k; ++kx) {
                const int at = seen + margin() - kx;
                if (at % stride) continue;
                const size_t index = (size_t)use[u].ky * k + kx;
                tap[taps_used++] = {ring.at(use[u].output_row, floor_div(at, stride)),
                                    packed_transposed_.data() + index * in.padded * out_.channels};
            }
        }
        if (taps_used) {
            context.kernels->conv->multiply(tap, taps_used, out_.channels, in.padded, count, out_.padded,
                                            to, (ptrdiff_t)stride * in.padded, accumulate);
        } else if (!accumulate) {
            for (int i = 0; i < count; ++i) {
                std::memset(to + (size_t)i * stride * in.padded, 0, sizeof(float) * in.padded);
            }
        }
    };
    for (int row = tile.row_begin; row < tile.row_end; ++row) {
        const int use_count = find_uses(row, in, out_, shape_, uses);
        float* d = source_.d->data + (size_t)row * in.width * in.padded;
        for (int phase = 0; phase < stride; ++phase) {
            const int from_column = tile.begin + phase;
            const int count = (tile.end - from_column + stride - 1) / stride;
            if (count > 0) {
                collect(uses, use_count, from_column, count, d + (size_t)from_column * in.padded, !first);
            }
        }
        for (int away = 1; away <= reach; ++away) {
            for (const int seen : {-away, in.width - 1 + away}) {
                const int column = reflect(seen, in.width);
                if (column < tile.begin || column >= tile.end) continue;
                collect(uses, use_count, seen, 1, border, false);
                context.kernels->conv->add(border, 0, 1, in.padded, d + (size_t)column * in.padded, 0);
            }
        }
        if (last) {
            source_.finish_gradient(*context.kernels, tile.slab, row, tile.begin, tile.end, scratch);
        }
    }
}

}  // namespace dipedge
