#include "engine/layer.h"

#include <algorithm>
#include <cmath>

#include "conv_norm_act/cpu.h"

namespace dipedge {

Norm::Norm(const Geometry& size, float eps)
    : padded(size.padded), count(size.pixels()), eps(eps), slabs(Slabs(size).count) {
    for (auto* array : {&scale, &shift, &spread, &centre, &a, &b, &c}) array->assign(padded, 0.0f);
    sums.assign((size_t)slabs * 2 * padded, 0.0);
}

void Norm::clear_sums() { std::fill(sums.begin(), sums.end(), 0.0); }

void Norm::finish_forward() {
    for (int i = 0; i < padded; ++i) {
        double sum = 0, squares = 0;
        for (int slab = 0; slab < slabs; ++slab) {
            sum += slab_sums(slab)[i];
            squares += slab_sums(slab)[padded + i];
        }
        const double mean = sum / count;
        const double variance = std::max(squares / count - mean * mean, 0.0);
        const double rstd = 1.0 / std::sqrt(variance + eps);
        spread[i] = (float)rstd;
        centre[i] = (float)(-mean * rstd);
        scale[i] = (float)(gamma[i] * rstd);
        shift[i] = (float)(beta[i] - gamma[i] * mean * rstd);
    }
}

void Norm::finish_backward() {
    for (int i = 0; i < padded; ++i) {
        double sum = 0, product = 0;
        for (int slab = 0; slab < slabs; ++slab) {
            sum += slab_sums(slab)[i];
            product += slab_sums(slab)[padded + i];
        }
        dbeta[i] = (float)sum;
        dgamma[i] = (float)product;
        // dy = gamma * rstd * (d - mean(d) - xhat * mean(d * xhat)), with xhat = y * spread + centre.
        const double factor = (double)gamma[i] * spread[i];
        const double mean_d = sum / count, mean_dx = product / count;
        a[i] = (float)factor;
        b[i] = (float)(-factor * mean_dx * spread[i]);
        c[i] = (float)(-factor * (mean_d + mean_dx * centre[i]));
    }
}

template <class Cell>
void InputSource<Cell>::pack(const Kernels& kernels, int row, int begin, int end, int step, Cell* to,
                             ptrdiff_t stride, Scratch) const {
    const float* from = values->data + ((size_t)row * size.width + begin) * size.padded;
    kernels.of<Cell>().conv->store(from, (ptrdiff_t)step * size.padded, (end - begin + step - 1) / step,
                                   size.padded, to, stride, nullptr);
}

template <class Cell>
void InputSource<Cell>::receive(const Kernels& kernels, int, int row, int begin, int end, const float* fresh,
                                ptrdiff_t stride, bool first, bool, Scratch) {
    float* to = d->data + ((size_t)row * size.width + begin) * size.padded;
    kernels.fp32.conv->store_gradient(fresh, stride, first ? nullptr : to, end - begin, size.padded, to,
                                      size.padded);
}

template <class Cell>
void Layer<Cell>::pack(const Kernels& kernels, int row, int begin, int end, int step, Cell* to,
                       ptrdiff_t stride, Scratch) const {
    kernels.of<Cell>().conv->norm_act(y_row(row) + (size_t)begin * size.padded, (ptrdiff_t)step * size.padded,
                                      (end - begin + step - 1) / step, size.padded, norm.scale.data(),
                                      norm.shift.data(), slope, to, stride);
}

template <class Cell>
void Layer<Cell>::receive(const Kernels& kernels, int slab, int row, int begin, int end, const float* fresh,
                          ptrdiff_t stride, bool first, bool last, Scratch) {
    const ConvKernels<Cell>& conv = *kernels.of<Cell>().conv;
    const size_t offset = (size_t)begin * size.padded;
    Cell* to = d_row(row) + offset;
    const Cell* earlier = first ? nullptr : to;
    if (!last) return conv.store_gradient(fresh, stride, earlier, end - begin, size.padded, to, size.padded);
    conv.act_backward(fresh, stride, earlier, y_row(row) + offset, size.padded, end - begin, size.padded,
                      norm.scale.data(), norm.shift.data(), slope, norm.spread.data(), norm.centre.data(), to,
                      size.padded, norm.slab_sums(slab));
}

template struct InputSource<float>;
template struct InputSource<bf16>;
template struct Layer<float>;
template struct Layer<bf16>;

}  // namespace dipedge
