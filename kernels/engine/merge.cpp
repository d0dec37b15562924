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
    LowerColumns(int begin, int end, int width)
        : first(std::max(begin / 2 - 1, 0)), count(std::min((end - 1) / 2 + 2, width) - first) {}
};

constexpr int lower_tile = tile_width / 2;  // columns of the lower level in one tile of the adjoint

}  // namespace

static Geometry merged(const Layer& deep, const Layer* skip, int height, int width) {
    Geometry size(height, width, deep.size.channels + (skip ? skip->size.channels : 0));
    size.padded = deep.size.padded + (skip ? skip->size.padded : 0);
    return size;
}

Merge::Merge(Layer& deep, Layer* skip, int height, int width, bool bilinear, float eps)
    : Source(merged(deep, skip, height, width)),
      norm(size, eps),
      deep_(deep),
      skip_(skip),
      bilinear_(bilinear),
      ones_(size.padded, 1.0f),
      zeros_(size.padded, 0.0f) {}

int Merge::depth() const { return skip_ ? deep_.size.padded + skip_->size.channels : deep_.size.channels; }

int Merge::place_of(int channel) const {
    const int skips = skip_ ? skip_->size.channels : 0;
    return channel < skips ? deep_.size.padded + channel : channel - skips;
}

std::vector<Buffer*> Merge::reads() const {
    if (!skip_) return {deep_.y};
    return {deep_.y, skip_->y};
}

// A row of the lower level, and a raw tile for the sums; the widest row a convolution asks for has
// tile_width + 6 pixels.
size_t Merge::scratch_floats() const {
    return (size_t)(tile_width + 8) * (deep_.size.padded + size.padded);
}

void Merge::pack_deep(const Kernels& kernels, int row, int begin, int end, const float* scale,
                      const float* shift, float* to, ptrdiff_t stride, float* scratch) const {
    const Geometry& low = deep_.size;
    const LowerColumns columns(begin, end, low.width);
    const int near = row / 2;
    const int far = std::clamp(row % 2 ? near + 1 : near - 1, 0, low.height - 1);
    const size_t offset = (size_t)columns.first * low.padded;
    kernels.merge->blend_act(deep_.y_row(near) + offset, deep_.y_row(far) + offset,
                             bilinear_ && far != near ? 0.25f : 0.0f, columns.count, low.padded,
                             deep_.norm.scale.data(), deep_.norm.shift.data(), deep_.slope, scale, shift,
                             scratch, low.padded);
    kernels.merge->widen(scratch, columns.first, low.width, bilinear_, begin, end, low.padded, to, stride);
}

void Merge::pack_scaled(const Kernels& kernels, int row, int begin, int end, const float* scale,
                        const float* shift, float* to, ptrdiff_t stride, float* scratch) const {
    pack_deep(kernels, row, begin, end, scale, shift, to, stride, scratch);
    if (!skip_) return;
    const int after = deep_.size.padded, channels = skip_->size.padded;
    const float* y = skip_->y_row(row) + (size_t)begin * channels;
    kernels.merge->blend_act(y, y, 0.0f, end - begin, channels, skip_->norm.scale.data(),
                             skip_->norm.shift.data(), skip_->slope, scale + after, shift + after,
                             to + after, stride);
}

void Merge::pack(const Kernels& kernels, int row, int begin, int end, int, float* to, ptrdiff_t stride,
                 float* scratch) const {
    pack_scaled(kernels, row, begin, end, norm.scale.data(), norm.shift.data(), to, stride, scratch);
}

void Merge::finish_gradient(const Kernels& kernels, int slab, int row, int begin, int end,
                            float* scratch) {
    float* raw = scratch + (size_t)(tile_width + 8) * deep_.size.padded;
    pack_scaled(kernels, row, begin, end, ones_.data(), zeros_.data(), raw, size.padded, scratch);
    kernels.merge->norm_sums(d->data + ((size_t)row * size.width + begin) * size.padded, size.padded, raw,
                             size.padded, end - begin, size.padded, norm.spread.data(),
                             norm.centre.data(), norm.slab_sums(slab));
}

void Merge::forward(const Context& context) {
    norm.clear_sums();
    const Slabs slabs(size);
    context.pool->run(slabs.count, [&](int slab, int worker) {
        float* scratch = context.scratch_of(worker);
        float* raw = scratch + (size_t)(tile_width + 8) * deep_.size.padded;
        for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
            for_tiles(size.width, [&](int begin, int end) {
                pack_scaled(*context.kernels, row, begin, end, ones_.data(), zeros_.data(), raw,
                            size.padded, scratch);
                context.kernels->conv->moments(raw, size.padded, end - begin, size.padded,
                                               norm.slab_sums(slab));
            });
        }
    });
    norm.finish_forward();
}

void Merge::backward(const Context& context) {
    if (skip_) skip_backward(context);
    deep_backward(context);
}

void Merge::skip_backward(const Context& context) {
    const int after = deep_.size.padded, channels = skip_->size.padded;
    const Slabs slabs(size);
    skip_->norm.clear_sums();
    context.pool->run(slabs.count, [&](int slab, int worker) {
        float* active = context.scratch_of(worker);
        for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
            for_tiles(size.width, [&](int begin, int end) {
                const float* from = d->data + ((size_t)row * size.width + begin) * size.padded + after;
                skip_->pack(*context.kernels, row, begin, end, 1, active, channels, nullptr);
                context.kernels->conv->norm_backward(
                    from, size.padded, active, channels, end - begin, channels, norm.a.data() + after,
                    norm.b.data() + after, norm.c.data() + after,
                    skip_->d_row(row) + (size_t)begin * channels, channels);
                skip_->finish_gradient(*context.kernels, slab, row, begin, end, nullptr);
            });
        }
    });
    skip_->norm.finish_backward();
}

void Merge::deep_backward(const Context& context) {
    const Slabs slabs(deep_.size);
    deep_.norm.clear_sums();
    context.pool->run(slabs.count, [&](int slab, int worker) {
        for (int begin = 0; begin < deep_.size.width; begin += lower_tile) {
            deep_tile(context, slab, begin, std::min(begin + lower_tile, deep_.size.width),
                      context.scratch_of(worker));
        }
    });
    deep_.norm.finish_backward();
}

// Columns [begin, end) of the slab's rows of the lower level. Rows of the upper level go through the
// norm's backward and `narrow` once, into a ring of four, and every lower row gathers from it.
void Merge::deep_tile(const Context& context, int slab, int begin, int end, float* scratch) {
    const Kernels& kernels = *context.kernels;
    const Geometry& low = deep_.size;
    const Slabs slabs(low);
    const int first = std::max(2 * begin - 1, 0), last = std::min(2 * end, size.width - 1);
    const size_t row_floats = (size_t)(tile_width + 8) * low.padded, low_floats = (size_t)(end - begin) * low.padded;
    float* raw = scratch + row_floats;
    float* ring = raw + row_floats;
    int held[4] = {-1, -1, -1, -1};
    const auto upper = [&](int row) -> const float* {
        row = std::clamp(row, 0, 2 * low.height - 1);
        if (row >= size.height) return nullptr;  // cropped
        float* to = ring + (row % 4) * row_floats;
        if (held[row % 4] == row) return to;
        held[row % 4] = row;
        pack_deep(kernels, row, first, last + 1, ones_.data(), zeros_.data(), raw, low.padded, scratch);
        kernels.conv->norm_backward(d->data + ((size_t)row * size.width + first) * size.padded,
                                    size.padded, raw, low.padded, last + 1 - first, low.padded,
                                    norm.a.data(), norm.b.data(), norm.c.data(), raw, low.padded);
        kernels.merge->narrow(raw, first, size.width, low.width, bilinear_, begin, end, low.padded, to);
        return to;
    };
    for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
        float* to = deep_.d_row(row) + (size_t)begin * low.padded;
        if (bilinear_) {
            const float* rows[4];
            for (int i = 0; i < 4; ++i) rows[i] = upper(2 * row - 1 + i);
            kernels.merge->gather_rows(rows[0], rows[1], rows[2], rows[3], low_floats, to);
        } else {
            const float* second = upper(2 * row + 1);
            kernels.merge->add_rows(upper(2 * row), second, low_floats, to);
        }
        deep_.finish_gradient(kernels, slab, row, begin, end, nullptr);
    }
}

}  // namespace dipedge
