// How much noise a picture has, as dipedge/noise.py estimates it.
#pragma once

namespace dipedge::c_api {

// Variance of white noise in a picture [height][width][channels] in [0, 1], by its finest diagonal
// differences.
double noise_variance(const float* pixels, int height, int width, int channels);

}  // namespace dipedge::c_api
