// How z is made: kept in memory and perturbed, or Fourier features of the pixel coordinates.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/layer.h"

namespace dipedge {

struct EncodingSpec {
    int channels = 32;
    std::vector<double> frequencies;  // not empty: Fourier features, 4 * count channels
    std::vector<double> times;        // frequencies of time, 2 * count channels more
    bool learned = false;             // the frequencies are parameters
    float perturbation = 0;           // standard deviation of the noise of every step
    bool perturb_frequencies = false;
    bool warped = false;  // views may be more than shifts
    int frames = 1;       // that the picture is stacked of
};

// Where a frame's pixels lie in the scene (dipedge/views.py): column x and row y stand at a x + b y + c and
// d x + e y + f, in pixels.
struct View {
    double a = 1, b = 0, c = 0, d = 0, e = 1, f = 0;
    double time = 0;
};

// A feature table over the positions of one axis, [count][width]: cosines and sines of the position, and in rows
// those of their frame's time; and the gradient by it. All frames' entries, one frame after the other.
struct FeatureTable {
    int count = 0, width = 0;
    std::vector<double> positions;  // [count], 0 to 1 from one side of a frame to the other
    std::vector<double> times;      // [count], where there are features of time
    std::vector<float> values;
    std::vector<double> gradient;

    const float* entry(int i) const { return values.data() + (size_t)i * width; }
};

// What a program needs of an encoding, whatever the cells of the layers behind it.
class AnyEncoding {
  public:
    virtual ~AnyEncoding() = default;

    // Whether z is made in memory at all.
    virtual bool dense() const = 0;
    virtual size_t values() const = 0;  // of z, channels without padding

    // The unperturbed z [height, width, channels], to be set or read while nothing runs. Fourier
    // features that are replaced by a given z stay replaced.
    virtual void set_values(const float* z) = 0;
    virtual void get_values(float* z) const = 0;
    virtual void get_gradient(float* dz) const = 0;  // where it was asked for
    virtual bool has_gradient() const = 0;

    // Moves the coordinates of each frame, from the next forward() on; nothing runs meanwhile. Throws
    // std::invalid_argument where there are none, for another count, or for a view that is more than a shift
    // where only those were provided for.
    virtual void set_views(const std::vector<View>& views) = 0;

    // Where learned frequencies [count] and their gradient lie among the parameters.
    virtual void set_frequencies(const float* frequencies, float* gradient) = 0;
};

template <class Cell>
class Encoding : public AnyEncoding {
  public:
    // With `dense` z is made in memory, [height, width, channels]; without (Fourier features that are
    // not perturbed themselves, and pointwise consumers) there are only the two tables. The height is that of
    // all frames.
    Encoding(const EncodingSpec& spec, int height, int width, bool dense, bool want_gradient, Arena& arena);

    InputSource<Cell>& source() { return source_; }
    const EncodingSpec& spec() const { return spec_; }
    bool dense() const override { return source_.values != nullptr; }
    size_t values() const override { return source_.size.pixels() * source_.size.channels; }
    bool has_gradient() const override { return source_.d != nullptr; }
    FeatureTable& columns() { return columns_; }
    FeatureTable& rows() { return rows_; }

    void set_values(const float* z) override;
    void get_values(float* z) const override;
    void get_gradient(float* dz) const override;
    void set_views(const std::vector<View>& views) override;
    void set_frequencies(const float* frequencies, float* gradient) override;

    // Makes z for step number `step`, perturbed or as it is.
    void forward(const Context& context, uint64_t seed, uint64_t step, bool perturb);

    // From the gradient by z (dense) or by the tables to the gradient by the frequencies.
    void backward(const Context& context);

  private:
    void read(const Buffer* from, float* to) const;
    void make_tables(uint64_t seed, uint64_t step, bool perturb, const Context& context);
    void fill_features(const Context& context);
    void add_noise(const Context& context, uint64_t seed, uint64_t step, float sigma);
    void reduce_to_tables(const Context& context);
    void place(const std::vector<View>& views);
    void fill_warped(const Context& context);
    void reduce_warped(const Context& context);
    int frame_of(int row) const { return row / source_.size.frame_height(); }

    EncodingSpec spec_;
    InputSource<Cell> source_;
    Buffer* base_ = nullptr;  // z before perturbation, when that is kept apart
    bool given_ = false;
    bool made_ = false;
    const float* frequencies_ = nullptr;
    float* frequency_gradient_ = nullptr;
    FeatureTable columns_, rows_;

    // Of views that turn: what columns and rows add to u and to v. Features are those of the sums, and the sums'
    // terms are in float64, so that features are rounded once here too.
    struct Waves {
        std::vector<double> positions, values;  // [count], [count][2n]
        const double* entry(size_t i) const { return values.data() + i * (values.size() / positions.size()); }
    };
    bool warps_ = false;
    Waves u_of_columns_, u_of_rows_, v_of_columns_, v_of_rows_;
    std::vector<double> row_gradients_;  // by the frequencies, of every row
};

}  // namespace dipedge
