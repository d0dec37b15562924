// A pointwise convolution of Fourier features that never makes the features: two tables and an add.
#pragma once

#include <memory>

#include "engine/conv.h"
#include "engine/encoding.h"
#include "engine/filter_axis.h"
#include "engine/sampling.h"

namespace dipedge {

// y[i, j] = U[j] + V[i] with U the column features times the first half of the weights, V the row
// features (and their frame's in time) times the rest; every frame has a U of its own. See kernels/fourier_mlp. A decimation behind it acts on U along the columns
// and on V along the rows, because its weights sum to 1: the two tables are decimated, and nothing else.
template <class Cell>
class FourierConv : public Conv<Cell> {
  public:
    using Conv<Cell>::out;
    using Conv<Cell>::shape;

    // With a `sampling` (and stride 1) the output has the sampled pixels only.
    FourierConv(Encoding<Cell>& encoding, int out_channels, int stride, const Sampling* sampling = nullptr);
    FourierConv(Encoding<Cell>& encoding, int out_channels, const DecimationFilter& filter);

    size_t partial_floats() const override;
    size_t scratch_bytes() const override;
    void pack_weights(const Context& context) override;
    void forward(const Context& context, Buffer* y, Norm* norm) override;
    void backward(const Context& context, const OutputGradient<Cell>& from, Buffer* partials, bool first,
                  bool last) override;

  private:
    // The features of one side that this convolution multiplies, [positions][width], and where they came from:
    // entries of a table, or with a filter sums of neighbouring ones.
    struct Axis {
        FeatureTable& table;
        std::vector<int> positions;
        std::vector<float> values;
        std::unique_ptr<FilterAxis> filter;
        std::vector<double> gradient;  // by the values
        int count() const { return (int)positions.size(); }
        int width() const { return table.width; }
        int window() const { return filter ? filter->window() : 1; }
        double weight(int i, int q) const { return filter ? filter->weights(i)[q] : 1.0; }
    };

    void gather(Axis& axis) const;
    int frame_of(int row) const { return row / out().frame_height(); }
    const float* column_row(int row) const { return column_part_.data() + frame_of(row) * frame_floats(); }
    size_t frame_floats() const { return (size_t)out().width * out().padded; }
    void add_weight_gradient(const Context& context, Axis& axis, const float* sums, int first_row);
    void add_table_gradient(const Axis& axis) const;

    Encoding<Cell>& encoding_;
    const Sampling* sampling_;
    Axis columns_, rows_;
    std::vector<float> packed_;                  // both halves, as panels
    std::vector<float> column_part_, row_part_;  // U [frames][out.width], V [out.height], padded channels
    std::vector<float> row_sums_;
};

}  // namespace dipedge
