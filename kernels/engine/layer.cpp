#include "engine/layer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

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

void InputSource::pack(const Kernels&, int row, int begin, int end, int step, float* to,
                       ptrdiff_t stride, float*) const {
    const float* from = values->data + ((size_t)row * size.width + begin) * size.padded;
    for (int x = begin; x < end; x += step, to += stride, from += (size_t)step * size.padded) {
        std::memcpy(to, from, sizeof(float) * size.padded);
    }
}

Layer::Layer(Geometry size, float slope, float eps) : Source(size), norm(size, eps), slope(slope) {}

void Layer::pack(const Kernels& kernels, int row, int begin, int end, int step, float* to,
                 ptrdiff_t stride, float*) const {
    kernels.conv->norm_act(y_row(row) + (size_t)begin * size.padded, (ptrdiff_t)step * size.padded,
                           (end - begin + step - 1) / step, size.padded, norm.scale.data(),
                           norm.shift.data(), slope, to, stride);
}

void Layer::finish_gradient(const Kernels& kernels, int slab, int row, int begin, int end, float*) {
    const size_t offset = (size_t)begin * size.padded;
    kernels.conv->act_backward(d_row(row) + offset, size.padded, y_row(row) + offset, size.padded,
                               end - begin, size.padded, norm.scale.data(), norm.shift.data(), slope,
                               norm.spread.data(), norm.centre.data(), norm.slab_sums(slab));
}

}  // namespace dipedge
