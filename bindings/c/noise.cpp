#include "bindings/c/noise.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace dipedge::c_api {
namespace {

// As numpy's: of an even count the mean of the two in the middle, in float32. Reorders the values.
float median(std::vector<float>& values) {
    const size_t middle = values.size() / 2;
    std::nth_element(values.begin(), values.begin() + (ptrdiff_t)middle, values.end());
    const float upper = values[middle];
    if (values.size() % 2) return upper;
    return (*std::max_element(values.begin(), values.begin() + (ptrdiff_t)middle) + upper) / 2;
}

}  // namespace

// Where the picture is smooth, (a - b - c + d) / 2 of a 2 x 2 block is noise alone, and the median of its
// size is hardly moved by edges (Donoho and Johnstone, 1994). The operations are in Python's order: the rule
// that asks for the variance should end a fit at the same step.
double noise_variance(const float* pixels, int height, int width, int channels) {
    constexpr float normal_median = 0.6744897501960817f;  // of |x| for x ~ N(0, 1)
    std::vector<float> details((size_t)(height / 2) * (width / 2));
    if (details.empty()) return 0;
    const size_t row = (size_t)width * channels;
    double sum = 0;
    for (int c = 0; c < channels; ++c) {
        size_t at = 0;
        for (int i = 0; i + 1 < height; i += 2) {
            for (int j = 0; j + 1 < width; j += 2) {
                const float* corner = pixels + i * row + (size_t)j * channels + c;
                const float left = corner[0] - corner[row];
                const float right = corner[channels] - corner[row + channels];
                details[at++] = std::fabs(left - right) / 2;
            }
        }
        const float deviation = median(details) / normal_median;
        sum += (double)deviation * deviation;
    }
    return sum / channels;
}

}  // namespace dipedge::c_api
