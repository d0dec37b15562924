// How z is made: kept in memory and perturbed, or Fourier features of the pixel coordinates.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/layer.h"

namespace dipedge {

struct EncodingSpec {
    int channels = 32;
    std::vector<double> frequencies;  // not empty: Fourier features, channels = 4 * count
    bool learned = false;             // the frequencies are parameters
    float perturbation = 0;           // standard deviation of the noise of every step
    bool perturb_frequencies = false;
};

// A feature table over the positions of one axis, [count][2n]: cosines, then sines; and the gradient
// by it.
struct FeatureTable {
    int count = 0;
    std::vector<float> values;
    std::vector<double> gradient;
};

class Encoding {
  public:
    // With `dense` z is made in memory, [height, width, channels]; without (Fourier features that are
    // not perturbed themselves, and pointwise consumers) there are only the two tables.
    Encoding(const EncodingSpec& spec, int height, int width, bool dense, bool want_gradient, Arena& arena);

    InputSource& source() { return source_; }
    const EncodingSpec& spec() const { return spec_; }
    bool dense() const { return source_.values != nullptr; }
    FeatureTable& columns() { return columns_; }
    FeatureTable& rows() { return rows_; }

    // The unperturbed z [height, width, channels], to be set or read while nothing runs. Fourier
    // features that are replaced by a given z stay replaced.
    void set_values(const float* z);
    void get_values(float* z) const;

    // Where learned frequencies [count] and their gradient lie among the parameters.
    void set_frequencies(const float* frequencies, float* gradient);

    // Makes z for step number `step`, perturbed or as it is.
    void forward(const Context& context, uint64_t seed, uint64_t step, bool perturb);

    // From the gradient by z (dense) or by the tables to the gradient by the frequencies.
    void backward(const Context& context);

  private:
    void make_tables(uint64_t seed, uint64_t step, bool perturb, const Context& context);
    void fill_features(const Context& context);
    void add_noise(const Context& context, uint64_t seed, uint64_t step, float sigma);
    void reduce_to_tables(const Context& context);

    EncodingSpec spec_;
    InputSource source_;
    Buffer* base_ = nullptr;  // z before perturbation, when that is kept apart
    bool given_ = false;
    bool made_ = false;
    const float* frequencies_ = nullptr;
    float* frequency_gradient_ = nullptr;
    FeatureTable columns_, rows_;
};

}  // namespace dipedge
