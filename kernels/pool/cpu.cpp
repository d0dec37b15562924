// 2x2 average and maximum decimation: the CPU row kernels.
//
// A window at an odd border holds one or two pixels and is averaged over what it holds. Of equal maxima
// the first in reading order takes the gradient, as in PyTorch. Pooling is used by small nets only
// (feature inversion), so the loops are plain; the compiler vectorises them over the channels.
#include "pool/cpu.h"

#include "simd/vec.h"

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {
namespace {

// The up to four pixels of window x, in reading order.
struct Window {
    const float* pixel[4];
    ptrdiff_t offset[4];  // within its row
    bool lower[4];        // whether it lies in the bottom row
    int count;
};

Window window(const float* top, const float* bottom, int x, int width, int channels) {
    Window w;
    w.count = 0;
    for (int row = 0; row < 2; ++row) {
        const float* from = row ? bottom : top;
        for (int column = 2 * x; from && column < 2 * x + 2 && column < width; ++column) {
            w.offset[w.count] = (ptrdiff_t)column * channels;
            w.pixel[w.count] = from + w.offset[w.count];
            w.lower[w.count++] = row;
        }
    }
    return w;
}

void forward(const float* top, const float* bottom, int width, int channels, bool maximum, float* to) {
    for (int x = 0; 2 * x < width; ++x, to += channels) {
        const Window w = window(top, bottom, x, width, channels);
        const float share = 1.0f / w.count;
        for (int c = 0; c < channels; ++c) {
            float result = w.pixel[0][c];
            for (int i = 1; i < w.count; ++i) {
                const float value = w.pixel[i][c];
                result = maximum ? (value > result ? value : result) : result + value;
            }
            to[c] = maximum ? result : result * share;
        }
    }
}

void backward(const float* d, const float* top, const float* bottom, int width, int channels, bool maximum,
              float* d_top, float* d_bottom) {
    for (int x = 0; 2 * x < width; ++x, d += channels) {
        const Window w = window(top, bottom, x, width, channels);
        const float share = 1.0f / w.count;
        for (int c = 0; c < channels; ++c) {
            int winner = 0;
            for (int i = 1; maximum && i < w.count; ++i) {
                if (w.pixel[i][c] > w.pixel[winner][c]) winner = i;
            }
            for (int i = 0; i < w.count; ++i) {
                float* to = (w.lower[i] ? d_bottom : d_top) + w.offset[i];
                to[c] = maximum ? (i == winner ? d[c] : 0.0f) : d[c] * share;
            }
        }
    }
}

}  // namespace

extern const PoolKernels pool_kernels = {forward, backward};

}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
