// A pointwise convolution of Fourier features that never makes the features: two tables and an add.
#pragma once

#include <memory>

#include "engine/conv.h"
#include "engine/encoding.h"
#include "engine/filter_axis.h"

namespace dipedge {

// y[i, j] = U[j] + V[i] with U the column features times the first half of the weights, V the row
// features times the second half. See kernels/fourier_mlp. A decimation behind it acts on U along the columns
// and on V along the rows, because its weights sum to 1: the two tables are decimated, and nothing else.
template <class Cell>
class FourierConv : public Conv<Cell> {
  public:
    using Conv<Cell>::out;
    using Conv<Cell>::shape;

    FourierConv(Encoding<Cell>& encoding, int out_channels, int stride);
    FourierConv(Encoding<Cell>& encoding, int out_channels, const DecimationFilter& filter);

    size_t partial_floats() const override;
    size_t scratch_bytes() const override;
    void pack_weights(const Context& context) override;
    void forward(const Context& context, Buffer* y, Norm* norm) override;
    void backward(const Context& context, const OutputGradient<Cell>& from, Buffer* partials, bool first,
                  bool last) override;

  private:
    // One side: its features, and how they are decimated (null: every stride-th is taken).
    struct Side {
        FeatureTable* table;
        std::unique_ptr<FilterAxis> filter;
        std::vector<float> decimated;
        std::vector<double> gradient;  // by the features that are multiplied
    };

    int half() const { return this->depth() / 2; }
    int step(const Side& side) const { return side.filter ? 1 : shape().stride; }
    const float* features(Side& side) const;  // decimates them where there is a filter
    void add_weight_gradient(const Context& context, Side& side, const float* sums, int count, int first_row);
    void add_table_gradient(Side& side, int count) const;

    Encoding<Cell>& encoding_;
    Side columns_, rows_;
    std::vector<float> packed_;                  // both halves, as panels
    std::vector<float> column_part_, row_part_;  // U [out.width], V [out.height], padded channels
    std::vector<float> row_sums_;
};

}  // namespace dipedge
