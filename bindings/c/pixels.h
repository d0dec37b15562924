// Pictures as users hold them, taken and given as dipedge/arrays.py does: bytes, words or floats, perhaps
// with alpha.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace dipedge::c_api {

enum class Type { uint8, uint16, float32 };  // numbers as in dipedge.h
constexpr int type_count = 3;

size_t bytes_of(Type type);

// Size of a picture; a fourth channel is alpha.
struct Size {
    int height, width, channels;

    int colours() const { return channels == 4 ? 3 : channels; }
    size_t pixels() const { return (size_t)height * width; }
};

// Bytes from row to row, which 0 leaves to the size. Throws std::invalid_argument for rows that would
// overlap.
size_t checked_row_bytes(const Size& size, Type type, size_t row_bytes);

// A picture taken in: its values as they came, white = 1, but for what floats have beyond [0, 1].
struct Picture {
    std::vector<float> colours;  // [pixels][colours]
    std::vector<float> alpha;    // [pixels], where there is one
};

// Throws std::invalid_argument, as Python says it, for floats that are no numbers or far beyond [0, 1]; `to`
// is then half filled, so hand over one that is not yet needed.
void take(const void* from, const Size& size, Type type, size_t row_bytes, Picture& to);

// Writes `colours`, cut to [0, 1], and alpha as it came. Pixels that `kept` marks (or none, where it is null)
// are not cut: they come from a picture that was taken in and go back to the bit.
void give(const float* colours, const float* alpha, const unsigned char* kept, const float* given,
          const Size& size, void* to, Type type, size_t row_bytes);

}  // namespace dipedge::c_api
