// A pointwise convolution of Fourier features that never makes the features: two tables and an add.
#pragma once

#include "engine/conv.h"
#include "engine/encoding.h"

namespace dipedge {

// y[i, j] = U[j] + V[i] with U the column features times the first half of the weights, V the row
// features times the second half. See kernels/fourier_mlp.
template <class Cell>
class FourierConv : public Conv<Cell> {
  public:
    using Conv<Cell>::out;
    using Conv<Cell>::shape;

    FourierConv(Encoding<Cell>& encoding, int out_channels, int stride);

    size_t partial_floats() const override;
    size_t scratch_bytes() const override;
    void pack_weights(const Context& context) override;
    void forward(const Context& context, Buffer* y, Norm* norm) override;
    void backward(const Context& context, const OutputGradient<Cell>& from, Buffer* partials, bool first,
                  bool last) override;

  private:
    int half() const { return this->depth() / 2; }
    void add_weight_gradient(const Context& context, FeatureTable& table, const float* sums, int count,
                             int first_row);

    Encoding<Cell>& encoding_;
    std::vector<float> packed_;                  // both halves, as panels
    std::vector<float> column_part_, row_part_;  // U [out.width], V [out.height], padded channels
    std::vector<float> row_sums_;
};

}  // namespace dipedge
