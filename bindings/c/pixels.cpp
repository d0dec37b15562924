#include "bindings/c/pixels.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <stdexcept>

namespace dipedge::c_api {
namespace {

// Resizing with a negative lobe oversteps [0, 1] by about this much; more means other units
// (dipedge/arrays.py).
constexpr double overstep = 1e-3;

// Rows may begin anywhere, so values are copied, not pointed at; compilers make plain loads of it.
template <class Value>
Value load(const unsigned char* from) {
    Value value;
    std::memcpy(&value, from, sizeof(value));
    return value;
}

float unit_value(const unsigned char* from, Type type) {
    if (type == Type::uint8) return (float)*from / 255.0f;
    return type == Type::uint16 ? (float)load<uint16_t>(from) / 65535.0f : load<float>(from);
}

void store(float value, unsigned char* to, Type type) {
    if (type == Type::float32) {
        std::memcpy(to, &value, sizeof(value));
        return;
    }
    const float cut = std::min(std::max(value, 0.0f), 1.0f);
    if (type == Type::uint8) {
        *to = (unsigned char)std::nearbyint(cut * 255.0f);
    } else {
        const uint16_t word = (uint16_t)std::nearbyint(cut * 65535.0f);
        std::memcpy(to, &word, sizeof(word));
    }
}

// The whole picture is looked at, alpha too.
void check_range(double low, double high, bool finite) {
    if (!finite) throw std::invalid_argument("frame holds NaN or infinite values; floats must be in [0, 1]");
    if (low >= -overstep && high <= 1 + overstep) return;
    char text[120];
    std::snprintf(text, sizeof(text),
                  "frame has values from %.4g to %.4g; floats must be in [0, 1], clip or scale", low, high);
    throw std::invalid_argument(text);
}

}  // namespace

size_t bytes_of(Type type) { return type == Type::uint8 ? 1 : type == Type::uint16 ? 2 : 4; }

size_t checked_row_bytes(const Size& size, Type type, size_t row_bytes) {
    const size_t needed = (size_t)size.width * size.channels * bytes_of(type);
    if (!row_bytes) return needed;
    if (row_bytes < needed) {
        throw std::invalid_argument("row_bytes is " + std::to_string(row_bytes) + "; a row has " +
                                    std::to_string(needed) + " bytes");
    }
    return row_bytes;
}

void take(const void* from, const Size& size, Type type, size_t row_bytes, Picture& to) {
    row_bytes = checked_row_bytes(size, type, row_bytes);
    const size_t step = bytes_of(type);
    const int colours = size.colours();
    to.colours.resize(size.pixels() * colours);
    to.alpha.resize(size.channels == 4 ? size.pixels() : 0);
    float low = INFINITY, high = -INFINITY, *colour = to.colours.data(), *alpha = to.alpha.data();
    bool finite = true;
    for (int i = 0; i < size.height; ++i) {
        const unsigned char* value = (const unsigned char*)from + i * row_bytes;
        for (int j = 0; j < size.width; ++j) {
            for (int c = 0; c < size.channels; ++c, value += step) {
                const float one = unit_value(value, type);
                finite = finite && std::isfinite(one);
                low = std::min(low, one), high = std::max(high, one);
                (c < colours ? *colour++ : *alpha++) = one;
            }
        }
    }
    check_range(low, high, finite);
}

void give(const float* colours, const float* alpha, const unsigned char* kept, const float* given,
          const Size& size, void* to, Type type, size_t row_bytes) {
    row_bytes = checked_row_bytes(size, type, row_bytes);
    const size_t step = bytes_of(type);
    const int count = size.colours();
    for (int i = 0; i < size.height; ++i) {
        unsigned char* value = (unsigned char*)to + i * row_bytes;
        for (int j = 0; j < size.width; ++j) {
            const size_t pixel = (size_t)i * size.width + j;
            const bool keeps = kept && kept[pixel];
            for (int c = 0; c < count; ++c, value += step) {
                const size_t at = pixel * count + c;
                store(keeps ? given[at] : std::min(std::max(colours[at], 0.0f), 1.0f), value, type);
            }
            if (size.channels == 4) store(alpha[pixel], value, type), value += step;
        }
    }
}

}  // namespace dipedge::c_api
