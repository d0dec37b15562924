// Batch norm, and the three kinds of picture that a convolution reads: z, a layer, a merge of two.
#pragma once

#include <vector>

#include "engine/tensor.h"

namespace dipedge {

// Training-mode batch norm over one picture: statistics, and the affine maps they amount to.
struct Norm {
    Norm() = default;
    Norm(const Geometry& size, float eps);

    int padded = 0;
    size_t count = 0;  // values per channel
    float eps = 1e-5f;
    int slabs = 1;
    const float* gamma = nullptr;  // [padded], zero in the surplus
    const float* beta = nullptr;
    float* dgamma = nullptr;
    float* dbeta = nullptr;

    std::vector<float> scale, shift;    // output = y * scale + shift
    std::vector<float> spread, centre;  // xhat = y * spread + centre
    std::vector<float> a, b, c;         // dy = a * d + b * y + c
    std::vector<double> sums;           // [slabs][2][padded]

    double* slab_sums(int slab) { return sums.data() + (size_t)slab * 2 * padded; }
    void clear_sums();
    void finish_forward();   // sums hold sum and sum of squares of y
    void finish_backward();  // sums hold sum of d and of d * xhat
};

// Something a convolution reads row by row, and whose gradient it writes row by row.
template <class Cell>
struct Source {
    explicit Source(Geometry size) : size(size) {}
    virtual ~Source() = default;

    // Writes pixels begin, begin + step, ... below end of a row to `to`, `stride` cells apart.
    virtual void pack(const Kernels& kernels, int row, int begin, int end, int step, Cell* to,
                      ptrdiff_t stride, Scratch scratch) const = 0;

    // Takes the gradient of pixels [begin, end) of a row, `stride` floats a pixel. The first of several
    // consumers overwrites what is kept, later ones add, and the last turns it into the gradient by the
    // normalised value and adds to the slab's sums.
    virtual void receive(const Kernels& kernels, int slab, int row, int begin, int end, const float* fresh,
                         ptrdiff_t stride, bool first, bool last, Scratch scratch) = 0;

    virtual size_t scratch_bytes() const { return 0; }   // that pack and receive take
    virtual int depth() const { return size.channels; }  // leading channels that may be nonzero
    virtual Norm* own_norm() { return nullptr; }
    virtual std::vector<Buffer*> reads() const = 0;  // what pack needs in memory

    // Position among the padded channels of channel number `channel` of the description.
    virtual int place_of(int channel) const { return channel; }

    Geometry size;
    Buffer* d = nullptr;  // gradient, [height, width, padded] cells; null when nobody asks for it
};

// z itself. It and its gradient are float32 in memory, whatever the cells of the layers.
template <class Cell>
struct InputSource : Source<Cell> {
    using Source<Cell>::Source;
    using Source<Cell>::size;
    using Source<Cell>::d;
    void pack(const Kernels& kernels, int row, int begin, int end, int step, Cell* to, ptrdiff_t stride,
              Scratch) const override;
    void receive(const Kernels& kernels, int slab, int row, int begin, int end, const float* fresh,
                 ptrdiff_t stride, bool first, bool last, Scratch) override;
    std::vector<Buffer*> reads() const override {
        if (!values) return {};
        return {values};
    }

    Buffer* values = nullptr;  // null when z is never made: see Encoding
};

// A convolution's output y with its batch norm and LeakyReLU still to be applied.
template <class Cell>
struct Layer : Source<Cell> {
    using Source<Cell>::size;
    using Source<Cell>::d;

    Layer(Geometry size, float slope, float eps) : Source<Cell>(size), norm(size, eps), slope(slope) {}
    void pack(const Kernels& kernels, int row, int begin, int end, int step, Cell* to, ptrdiff_t stride,
              Scratch) const override;
    void receive(const Kernels& kernels, int slab, int row, int begin, int end, const float* fresh,
                 ptrdiff_t stride, bool first, bool last, Scratch) override;
    Norm* own_norm() override { return &norm; }
    std::vector<Buffer*> reads() const override { return {y}; }
    const Cell* y_row(int row) const { return y->as<Cell>() + (size_t)row * size.width * size.padded; }
    Cell* d_row(int row) const { return d->template as<Cell>() + (size_t)row * size.width * size.padded; }

    Norm norm;
    float slope;
    Buffer* y = nullptr;
};

}  // namespace dipedge
