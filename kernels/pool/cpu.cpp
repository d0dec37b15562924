// 2x2 maximum decimation: the CPU row kernels, written once for both cells.
//
// A window at an odd border holds one or two pixels. Of equal maxima the first in reading order takes the
// gradient, as in PyTorch. Nothing is rounded here: values are compared and copied, so bfloat16 loses
// nothing that the convolution ahead had not lost. Both ways are one pass over the big picture and bound by
// memory: 4 reads of a vector and 3 comparisons per vector written.
#include "pool/cpu.h"

#include "simd/vec.h"

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {
namespace {

// The up to four pixels of window x, in reading order.
template <class Cell>
struct Window {
    const Cell* pixel[4];
    ptrdiff_t offset[4];  // within its row
    bool lower[4];        // whether it lies in the bottom row
    int count = 0;

    Window(const Cell* top, const Cell* bottom, int x, int width, int channels) {
        for (int row = 0; row < 2; ++row) {
            const Cell* from = row ? bottom : top;
            for (int column = 2 * x; from && column < 2 * x + 2 && column < width; ++column) {
                offset[count] = (ptrdiff_t)column * channels;
                pixel[count] = from + offset[count];
                lower[count++] = row;
            }
        }
    }
};

template <class Cell>
void forward(const Cell* top, const Cell* bottom, int width, int channels, Cell* to) {
    for (int x = 0; 2 * x < width; ++x, to += channels) {
        const Window<Cell> w(top, bottom, x, width, channels);
        for (int c = 0; c < channels; c += Vec::lanes) {
            Vec largest = Vec::load(w.pixel[0] + c);
            for (int i = 1; i < w.count; ++i) largest = max(Vec::load(w.pixel[i] + c), largest);
            largest.store(to + c);
        }
    }
}

template <class Cell>
void backward(const Cell* d, const Cell* top, const Cell* bottom, int width, int channels, Cell* d_top,
              Cell* d_bottom) {
    const Vec zero = Vec::zero();
    for (int x = 0; 2 * x < width; ++x, d += channels) {
        const Window<Cell> w(top, bottom, x, width, channels);
        for (int c = 0; c < channels; c += Vec::lanes) {
            Vec largest = Vec::load(w.pixel[0] + c), winner = zero;
            for (int i = 1; i < w.count; ++i) {
                const Vec value = Vec::load(w.pixel[i] + c), larger = value - largest;
                largest = where_positive(larger, value, largest);
                winner = where_positive(larger, Vec::set1((float)i), winner);
            }
            const Vec gradient = Vec::load(d + c);
            for (int i = 0; i < w.count; ++i) {
                // Positive for every pixel but the winner.
                const Vec off = (winner - Vec::set1((float)i)) * (winner - Vec::set1((float)i));
                Cell* row = w.lower[i] ? d_bottom : d_top;
                where_positive(off, zero, gradient).store(row + w.offset[i] + c);
            }
        }
    }
}

}  // namespace

extern const PoolKernels<float> pool_kernels = {forward<float>, backward<float>};
#if defined(DIPEDGE_ISA_AVX512BF16)
extern const PoolKernels<bf16> pool_kernels_bf16 = {forward<bf16>, backward<bf16>};
#endif

}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
