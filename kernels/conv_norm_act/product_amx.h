// The bfloat16 products' entry points: through AMX tiles where this instruction set has them, else through
// vdpbf16ps alone. Included by product_bf16.h.
#pragma once

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {
namespace {
namespace half {

#if defined(DIPEDGE_ISA_AMX)

// GCC's tile intrinsics do not tell the optimiser that they read memory: what they read must have been
// written before.
static inline void order_memory() { __asm__ volatile("" ::: "memory"); }

// Tiles 0-3 sums, 4-5 the first operand, 6-7 the second; all 16 rows of 64 bytes.
void configure_tiles() {
    struct alignas(64) {
        uint8_t palette, start_row, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } config;
    memset(&config, 0, sizeof config);
    config.palette = 1;
    for (int tile = 0; tile < 8; ++tile) {
        config.bytes[tile] = 64;
        config.rows[tile] = 16;
    }
    order_memory();
    _tile_loadconfig(&config);
}

// Two rows of tiles where `two_rows`, two columns of tiles where `two_columns`. `left(t)` and
// `right(t)` give the operands of product number t of `count`.
#define DIPEDGE_TILES(two_rows, two_columns)                   \
    for (int t = 0; t < count; ++t) {                          \
        const Operands o = at(t);                              \
        _tile_loadd(4, o.left, left_bytes);                    \
        _tile_loadd(6, o.right, right_bytes);                  \
        _tile_dpbf16ps(0, 4, 6);                               \
        if (two_columns) {                                     \
            _tile_loadd(7, o.right + right_next, right_bytes); \
            _tile_dpbf16ps(1, 4, 7);                           \
        }                                                      \
        if (two_rows) {                                        \
            _tile_loadd(5, o.left + left_next, left_bytes);    \
            _tile_dpbf16ps(2, 5, 6);                           \
            if (two_columns) _tile_dpbf16ps(3, 5, 7);          \
        }                                                      \
    }

struct Operands {
    const bf16 *left, *right;
};

// sums [16 or 32 rows][16 or 32 columns] (+)= products; strides in floats and bytes.
template <bool two_rows, bool two_columns, class At>
void tile_block(float* sums, ptrdiff_t stride, bool accumulate, int count, ptrdiff_t left_bytes,
                ptrdiff_t right_bytes, ptrdiff_t left_next, ptrdiff_t right_next, const At& at) {
    const ptrdiff_t bytes = stride * (ptrdiff_t)sizeof(float);
    order_memory();
    if (accumulate) {
        _tile_loadd(0, sums, bytes);
        if (two_columns) _tile_loadd(1, sums + 16, bytes);
        if (two_rows) _tile_loadd(2, sums + 16 * stride, bytes);
        if (two_rows && two_columns) _tile_loadd(3, sums + 16 * stride + 16, bytes);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    DIPEDGE_TILES(two_rows, two_columns)
    _tile_stored(0, sums, bytes);
    if (two_columns) _tile_stored(1, sums + 16, bytes);
    if (two_rows) _tile_stored(2, sums + 16 * stride, bytes);
    if (two_rows && two_columns) _tile_stored(3, sums + 16 * stride + 16, bytes);
}
#undef DIPEDGE_TILES

template <class At>
void tiles(bool two_rows, bool two_columns, float* sums, ptrdiff_t stride, bool accumulate, int count,
           ptrdiff_t left_bytes, ptrdiff_t right_bytes, ptrdiff_t left_next, ptrdiff_t right_next,
           const At& at) {
#define DIPEDGE_BLOCK(r, c) \
    tile_block<r, c>(sums, stride, accumulate, count, left_bytes, right_bytes, left_next, right_next, at)
    if (two_rows) {
        two_columns ? DIPEDGE_BLOCK(true, true) : DIPEDGE_BLOCK(true, false);
    } else {
        two_columns ? DIPEDGE_BLOCK(false, true) : DIPEDGE_BLOCK(false, false);
    }
#undef DIPEDGE_BLOCK
}

void multiply(const Tap<bf16>* taps, int tap_count, int depth, int columns, int pixels,
              ptrdiff_t pixel_stride, float* out, ptrdiff_t out_stride, bool accumulate) {
    const int blocks = round_up(depth, depth_block) / depth_block;
    const ptrdiff_t panel_cells = (ptrdiff_t)blocks * depth_block * panel;
    const int whole = pixels / 16 * 16;
    for (int column = 0; column < columns; column += 32) {
        for (int row = 0; row < whole; row += 32) {
            const auto at = [&](int t) {
                const Tap<bf16>& tap = taps[t / blocks];
                const int block = t % blocks;
                return Operands{
                    tap.pixels + row * pixel_stride + block * depth_block,
                    tap.weights + column / panel * panel_cells + (ptrdiff_t)block * depth_block * panel};
            };
            tiles(row + 16 < whole, column + 16 < columns, out + row * out_stride + column, out_stride,
                  accumulate, tap_count * blocks, pixel_stride * 2, 64, 16 * pixel_stride, panel_cells, at);
        }
    }
    if (whole < pixels) {
        const Product rest{taps,         tap_count, (depth + 1) / 2, panel_cells,
                           pixel_stride, out,       out_stride,      accumulate};
        multiply_vectors(rest, whole, columns, pixels);
    }
}

void multiply_outer(const bf16* left, int left_pixels, int channels, int step, int first, int depth,
                    const bf16* right, int columns, int pixels, float* dw, ptrdiff_t dw_stride) {
    const ptrdiff_t length = (ptrdiff_t)(left_size(left_pixels, 1, step) / step);
    const bf16* from = left + (ptrdiff_t)(first % step) * channels * length + first / step;
    const int blocks = round_up(pixels, depth_block) / depth_block;
    const int whole = depth / 16 * 16;
    for (int column = 0; column < columns; column += 32) {
        for (int k = 0; k < whole; k += 32) {
            const auto at = [&](int t) {
                return Operands{from + k * length + t * depth_block,
                                right + ((ptrdiff_t)t * 16 * columns + column) * 2};
            };
            tiles(k + 16 < whole, column + 16 < columns, dw + k * dw_stride + column, dw_stride, true, blocks,
                  length * 2, (ptrdiff_t)columns * 4, 16 * length, 32, at);
        }
    }
    if (whole < depth) {
        outer_vectors(from, length, whole, depth, right, columns, (pixels + 1) / 2, dw, dw_stride);
    }
}

#else

void multiply(const Tap<bf16>* taps, int tap_count, int depth, int columns, int pixels,
              ptrdiff_t pixel_stride, float* out, ptrdiff_t out_stride, bool accumulate) {
    const ptrdiff_t panel_cells = (ptrdiff_t)round_up(depth, depth_block) * panel;
    const Product all{taps,         tap_count, (depth + 1) / 2, panel_cells,
                      pixel_stride, out,       out_stride,      accumulate};
    multiply_vectors(all, 0, columns, pixels);
}

void multiply_outer(const bf16* left, int left_pixels, int channels, int step, int first, int depth,
                    const bf16* right, int columns, int pixels, float* dw, ptrdiff_t dw_stride) {
    const ptrdiff_t length = (ptrdiff_t)(left_size(left_pixels, 1, step) / step);
    const bf16* from = left + (ptrdiff_t)(first % step) * channels * length + first / step;
    outer_vectors(from, length, 0, depth, right, columns, (pixels + 1) / 2, dw, dw_stride);
}

#endif

}  // namespace half
}  // namespace
}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
