#include "engine/merge.h"

#include <algorithm>

#include "conv_norm_act/cpu.h"
#include "engine/conv_tile.h"
#include "upsample_merge/cpu.h"

namespace dipedge {
namespace {

// Columns of the lower level under columns [begin, end) of the upper one, neighbours included.
struct LowerColumns {
    int first, count;
    LowerColumns(int begin, int end, int width, bool sampled)
        : first(std::max((sampled ? begin : begin / 2) - 1, 0)),
          count(std::min((sampled ? end - 1 : (end - 1) / 2) + 2, width) - first) {}
};

constexpr int lower_tile = tile_width / 2;  // columns of the lower level in one tile of the adjoint

template <class Cell>
Geometry merged(const Layer<Cell>& deep, const Layer<Cell>* skip, int height, int width) {
    Geometry size(height, width, deep.size.channels + (skip ? skip->size.channels : 0), 1);
    size.padded = deep.size.padded + (skip ? skip->size.padded : 0);
    size.frames = deep.size.frames;
    return size;
}

}  // namespace

template <class Cell>
Merge<Cell>::Merge(Layer<Cell>& deep, Layer<Cell>* skip, int height, int width, bool bilinear, float eps,
                   const Sampling* sampling)
    : Source<Cell>(merged(deep, skip, height, width)),
      norm(size, eps),
      deep_(deep),
      skip_(skip),
      bilinear_(bilinear),
      sampling_(sampling),
      ones_(size.padded, 1.0f),
      zeros_(size.padded, 0.0f) {}

template <class Cell>
int Merge<Cell>::depth() const {
    return skip_ ? deep_.size.padded + skip_->size.channels : deep_.size.channels;
}

template <class Cell>
int Merge<Cell>::place_of(int channel) const {
    const int skips = skip_ ? skip_->size.channels : 0;
    return channel < skips ? deep_.size.padded + channel : channel - skips;
}

template <class Cell>
std::vector<Buffer*> Merge<Cell>::reads() const {
    if (!skip_) return {deep_.y};
    return {deep_.y, skip_->y};
}

// A blended row, and a raw tile for the sums.
template <class Cell>
size_t Merge<Cell>::scratch_bytes() const {
    return 2 * Scratch::bytes<float>(row_floats());
}

// The two rows of the lower level that output row `row` lies between: the nearer one, and the other, which at a
// frame's edge is the same.
template <class Cell>
typename Merge<Cell>::LowerRows Merge<Cell>::lower_rows(int row) const {
    const int lower_height = deep_.size.frame_height(), frame = row / size.frame_height();
    const int first = frame * lower_height;
    // A sampled row is one of the pair above its lower row.
    const int in_frame = sampling_ ? sampling_->rows()[row] - frame * sampling_->frame_height()
                                   : row - frame * size.frame_height();
    const int near = first + in_frame / 2;
    return {near, std::clamp(in_frame % 2 ? near + 1 : near - 1, first, first + lower_height - 1)};
}

// The row of the lower level between its two rows that output row `row` lies between.
template <class Cell>
void Merge<Cell>::blend_deep(const Kernels& kernels, int row, int begin, int end, const float* scale,
                             const float* shift, float* to) const {
    const Geometry& low = deep_.size;
    const LowerColumns columns(begin, end, low.width, sampling_);
    const auto [near, far] = lower_rows(row);
    const size_t offset = (size_t)columns.first * low.padded;
    kernels.of<Cell>().merge->blend_act(deep_.y_row(near) + offset, deep_.y_row(far) + offset,
                                        bilinear_ && far != near ? 0.25f : 0.0f, columns.count, low.padded,
                                        deep_.norm.scale.data(), deep_.norm.shift.data(), deep_.slope, scale,
                                        shift, to, low.padded);
}

template <class Cell>
void Merge<Cell>::pack(const Kernels& kernels, int row, int begin, int end, int, Cell* to, ptrdiff_t stride,
                       Scratch scratch) const {
    const CellKernels<Cell>& cells = kernels.of<Cell>();
    const int after = deep_.size.padded;
    float* mixed = scratch.template take<float>(row_floats());
    blend_deep(kernels, row, begin, end, norm.scale.data(), norm.shift.data(), mixed);
    const LowerColumns columns(begin, end, deep_.size.width, sampling_);
    cells.merge->widen_cells(mixed, columns.first, deep_.size.width, bilinear_, begin, end, positions(),
                             after, to, stride);
    if (!skip_) return;
    const int channels = skip_->size.padded;
    const Cell* y = skip_->y_row(row) + (size_t)begin * channels;
    cells.merge->blend_act(y, y, 0.0f, end - begin, channels, skip_->norm.scale.data(),
                           skip_->norm.shift.data(), skip_->slope, norm.scale.data() + after,
                           norm.shift.data() + after, mixed, channels);
    cells.conv->store(mixed, channels, end - begin, channels, to + after, stride, nullptr);
}

template <class Cell>
void Merge<Cell>::pack_raw_deep(const Kernels& kernels, int row, int begin, int end, float* to,
                                ptrdiff_t stride, Scratch scratch) const {
    float* mixed = scratch.template take<float>(row_floats());
    blend_deep(kernels, row, begin, end, ones_.data(), zeros_.data(), mixed);
    const LowerColumns columns(begin, end, deep_.size.width, sampling_);
    kernels.of<Cell>().merge->widen(mixed, columns.first, deep_.size.width, bilinear_, begin, end,
                                    positions(), deep_.size.padded, to, stride);
}

// The concatenation before its norm, float32, size.padded a pixel.
template <class Cell>
void Merge<Cell>::pack_raw(const Kernels& kernels, int row, int begin, int end, float* to,
                           Scratch scratch) const {
    pack_raw_deep(kernels, row, begin, end, to, size.padded, scratch);
    if (!skip_) return;
    const int channels = skip_->size.padded;
    const Cell* y = skip_->y_row(row) + (size_t)begin * channels;
    kernels.of<Cell>().merge->blend_act(y, y, 0.0f, end - begin, channels, skip_->norm.scale.data(),
                                        skip_->norm.shift.data(), skip_->slope, ones_.data(), zeros_.data(),
                                        to + deep_.size.padded, size.padded);
}

template <class Cell>
void Merge<Cell>::receive(const Kernels& kernels, int slab, int row, int begin, int end, const float* fresh,
                          ptrdiff_t stride, bool first, bool last, Scratch scratch) {
    Cell* to = d->template as<Cell>() + ((size_t)row * size.width + begin) * size.padded;
    const CellKernels<Cell>& cells = kernels.of<Cell>();
    cells.conv->store_gradient(fresh, stride, first ? nullptr : to, end - begin, size.padded, to,
                               size.padded);
    if (!last) return;
    float* raw = scratch.template take<float>(row_floats());
    pack_raw(kernels, row, begin, end, raw, scratch);
    cells.merge->norm_sums(to, size.padded, raw, size.padded, end - begin, size.padded, norm.spread.data(),
                           norm.centre.data(), norm.slab_sums(slab));
}

template <class Cell>
void Merge<Cell>::forward(const Context& context) {
    norm.clear_sums();
    const Slabs slabs(size);
    context.pool->run(slabs.count, [&](int slab, int worker) {
        Scratch scratch = context.scratch_of(worker);
        float* raw = scratch.take<float>(row_floats());
        for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
            for_tiles(size.width, [&](int begin, int end) {
                pack_raw(*context.kernels, row, begin, end, raw, scratch);
                context.kernels->fp32.conv->moments(raw, size.padded, end - begin, size.padded,
                                                    norm.slab_sums(slab));
            });
        }
    });
    norm.finish_forward();
}

template <class Cell>
void Merge<Cell>::backward(const Context& context) {
    if (skip_) skip_backward(context);
    deep_backward(context);
}

template <class Cell>
void Merge<Cell>::skip_backward(const Context& context) {
    const int after = deep_.size.padded, channels = skip_->size.padded;
    const Slabs slabs(size);
    skip_->norm.clear_sums();
    context.pool->run(slabs.count, [&](int slab, int worker) {
        Scratch scratch = context.scratch_of(worker);
        float* active = scratch.take<float>(row_floats());
        const MergeKernels<Cell>& merge = *context.of<Cell>().merge;
        for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
            for_tiles(size.width, [&](int begin, int end) {
                const Cell* from = d->template as<Cell>() + ((size_t)row * size.width + begin) * size.padded;
                const Cell* y = skip_->y_row(row) + (size_t)begin * channels;
                merge.blend_act(y, y, 0.0f, end - begin, channels, skip_->norm.scale.data(),
                                skip_->norm.shift.data(), skip_->slope, ones_.data(), zeros_.data(), active,
                                channels);
                merge.norm_backward(from + after, size.padded, active, channels, end - begin, channels,
                                    norm.a.data() + after, norm.b.data() + after, norm.c.data() + after,
                                    active, channels);
                skip_->receive(*context.kernels, slab, row, begin, end, active, channels, true, true,
                               scratch);
            });
        }
    });
    skip_->norm.finish_backward();
}

template <class Cell>
void Merge<Cell>::deep_backward(const Context& context) {
    const Slabs slabs(deep_.size);
    deep_.norm.clear_sums();
    context.pool->run(slabs.count, [&](int slab, int worker) {
        for (int begin = 0; begin < deep_.size.width; begin += lower_tile) {
            const int end = std::min(begin + lower_tile, deep_.size.width);
            if (sampling_) {
                sampled_tile(context, slab, begin, end, context.scratch_of(worker));
            } else {
                deep_tile(context, slab, begin, end, context.scratch_of(worker));
            }
        }
    });
    deep_.norm.finish_backward();
}

// The gradient by columns [first, last] of a row of the enlarged deep part, before the norm.
template <class Cell>
void Merge<Cell>::unmixed_row(const Kernels& kernels, int row, int first, int last, float* raw,
                              Scratch scratch) const {
    const int channels = deep_.size.padded;
    pack_raw_deep(kernels, row, first, last + 1, raw, channels, scratch);
    kernels.of<Cell>().merge->norm_backward(
        d->template as<Cell>() + ((size_t)row * size.width + first) * size.padded, size.padded, raw, channels,
        last + 1 - first, channels, norm.a.data(), norm.b.data(), norm.c.data(), raw, channels);
}

// Columns [begin, end) of the slab's rows of the lower level. Rows of the upper level go through the
// norm's backward and `narrow` once, into a ring of four, and every lower row gathers from it.
template <class Cell>
void Merge<Cell>::deep_tile(const Context& context, int slab, int begin, int end, Scratch scratch) {
    const Kernels& kernels = *context.kernels;
    const MergeKernels<Cell>& merge = *kernels.of<Cell>().merge;
    const Geometry& low = deep_.size;
    const Slabs slabs(low);
    const int first = std::max(2 * begin - 1, 0), last = std::min(2 * end, size.width - 1);
    const size_t low_floats = (size_t)(end - begin) * low.padded;
    float* raw = scratch.take<float>(row_floats());
    float* fresh = scratch.take<float>(low_floats);
    float* ring = scratch.take<float>(low_floats * 4);
    int held[4] = {-1, -1, -1, -1};
    // The upper row `away` from the first one of lower row `row`, within the frame.
    const auto upper = [&](int lower, int away) -> const float* {
        const int lower_height = low.frame_height(), frame = lower / lower_height;
        const int in_frame = std::clamp(2 * (lower - frame * lower_height) + away, 0, 2 * lower_height - 1);
        if (in_frame >= size.frame_height()) return nullptr;  // cropped
        const int row = frame * size.frame_height() + in_frame;
        float* to = ring + (row % 4) * low_floats;
        if (held[row % 4] == row) return to;
        held[row % 4] = row;
        unmixed_row(kernels, row, first, last, raw, scratch);
        merge.narrow(raw, first, size.width, low.width, bilinear_, begin, end, low.padded, to);
        return to;
    };
    for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
        if (bilinear_) {
            const float* rows[4];
            for (int i = 0; i < 4; ++i) rows[i] = upper(row, i - 1);
            merge.gather_rows(rows[0], rows[1], rows[2], rows[3], low_floats, fresh);
        } else {
            const float* second = upper(row, 1);
            merge.add_rows(upper(row, 0), second, low_floats, fresh);
        }
        deep_.receive(kernels, slab, row, begin, end, fresh, low.padded, true, true, scratch);
    }
}

// The same of a sampled picture: row i of it and its two neighbours are all that lower row i went into.
template <class Cell>
void Merge<Cell>::sampled_tile(const Context& context, int slab, int begin, int end, Scratch scratch) {
    const Kernels& kernels = *context.kernels;
    const MergeKernels<Cell>& merge = *kernels.of<Cell>().merge;
    const Geometry& low = deep_.size;
    const Slabs slabs(low);
    const int first = std::max(begin - 1, 0), last = std::min(end, size.width - 1);
    const size_t low_floats = (size_t)(end - begin) * low.padded;
    float* raw = scratch.take<float>(row_floats());
    float* fresh = scratch.take<float>(low_floats);
    float* ring = scratch.take<float>(low_floats * 4);
    int held[4] = {-1, -1, -1, -1};
    const auto share = [&](int upper, int lower) {  // of a lower row in an upper one
        if (upper < 0 || upper >= low.height) return 0.0f;
        const int far = lower_rows(upper).far;
        if (!bilinear_ || far == upper) return upper == lower ? 1.0f : 0.0f;
        return upper == lower ? 0.75f : (far == lower ? 0.25f : 0.0f);
    };
    for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
        const float* rows[3];
        float weights[3];
        for (int i = 0; i < 3; ++i) {
            const int upper = row - 1 + i, slot = (upper + 4) % 4;
            weights[i] = share(upper, row);
            rows[i] = nullptr;
            if (weights[i] == 0.0f) continue;
            float* to = ring + slot * low_floats;
            if (held[slot] != upper) {
                unmixed_row(kernels, upper, first, last, raw, scratch);
                merge.narrow_sampled(raw, first, positions(), low.width, bilinear_, begin, end, low.padded,
                                     to);
                held[slot] = upper;
            }
            rows[i] = to;
        }
        merge.weigh_rows(rows, weights, low_floats, fresh);
        deep_.receive(kernels, slab, row, begin, end, fresh, low.padded, true, true, scratch);
    }
}

template struct Merge<float>;
template struct Merge<bf16>;

}  // namespace dipedge
