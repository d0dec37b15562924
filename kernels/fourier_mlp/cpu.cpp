// Fourier features and the pointwise layers fed by them: the CPU row kernels.
//
// Half of the features depend on the column alone and half on the row alone, so a 1x1 layer of them is
// a table over columns plus a table over rows: y[i, j] = U[j] + V[i]. At 512x512 the 32-channel input
// (34 MB) is never made and the two products shrink from 262144 to 1024 pixels; what is left is one add
// per output. Its adjoint needs only the column sums and row sums of the gradient.
#include "fourier_mlp/cpu.h"

#include "simd/vec.h"

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {
namespace {

template <class Cell>
void add_row(const float* columns, const float* row, int pixels, int channels, Cell* y) {
    for (int p = 0; p < pixels; ++p, columns += channels, y += channels) {
        for (int c = 0; c < channels; c += Vec::lanes) {
            (Vec::load(columns + c) + Vec::load(row + c)).store(y + c);
        }
    }
}

template <class Cell>
void reduce_row(const Cell* d, int pixels, int channels, float* column_sums, float* row_sum) {
    for (int c = 0; c < channels; c += Vec::lanes) {
        Vec total = Vec::zero();
        for (int p = 0; p < pixels; ++p) {
            const Vec gradient = Vec::load(d + (ptrdiff_t)p * channels + c);
            float* column = column_sums + (ptrdiff_t)p * channels + c;
            (Vec::load(column) + gradient).store(column);
            total = total + gradient;
        }
        (Vec::load(row_sum + c) + total).store(row_sum + c);
    }
}

}  // namespace

extern const FourierKernels<float> fourier_kernels = {add_row<float>, reduce_row<float>};

#if defined(DIPEDGE_ISA_AVX512BF16)
extern const FourierKernels<bf16> fourier_kernels_bf16 = {add_row<bf16>, reduce_row<bf16>};
#endif

}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
