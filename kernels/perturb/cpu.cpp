// Normal noise from a counter: Philox4x32-10 (Salmon et al., 2011), then Box-Muller.
//
// Value number i depends on (seed, step, i) alone, so any thread may compute any part and a restored
// session goes on with the same noise. The loops run over 16 counters at a time on plain arrays, which
// the compiler turns into vectors; sine and cosine take their angle as an integer fraction of a turn,
// so the reduction to one eighth of it is exact.
#include "perturb/cpu.h"

#include <math.h>
#include <string.h>

#include "simd/vec.h"

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {
namespace {

constexpr int group = 16;  // counters computed together

struct Words {
    uint32_t word[4][group];
};

void philox(uint64_t seed, uint64_t step, uint64_t first_block, Words& w) {
    for (int i = 0; i < group; ++i) {
        const uint64_t block = first_block + i;
        w.word[0][i] = (uint32_t)block;
        w.word[1][i] = (uint32_t)(block >> 32);
        w.word[2][i] = (uint32_t)step;
        w.word[3][i] = (uint32_t)(step >> 32);
    }
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; ++round, key0 += 0x9E3779B9u, key1 += 0xBB67AE85u) {
        for (int i = 0; i < group; ++i) {
            const uint64_t product0 = (uint64_t)0xD2511F53u * w.word[0][i];
            const uint64_t product1 = (uint64_t)0xCD9E8D57u * w.word[2][i];
            w.word[0][i] = (uint32_t)(product1 >> 32) ^ w.word[1][i] ^ key0;
            w.word[1][i] = (uint32_t)product1;
            w.word[2][i] = (uint32_t)(product0 >> 32) ^ w.word[3][i] ^ key1;
            w.word[3][i] = (uint32_t)product0;
        }
    }
}

// Natural logarithm of (word + 1/2) / 2^32, within 2 ulp.
static inline float log_of_fraction(uint32_t word) {
    const float x = ((float)word + 0.5f) * 2.3283064365386963e-10f;
    uint32_t bits;
    memcpy(&bits, &x, 4);
    // Split x = 2^e * m with m in [sqrt(1/2), sqrt(2)), then the series of log(1 + f) (Cephes logf).
    const uint32_t moved = bits - 0x3f3504f3u;
    const float e = (float)((int32_t)moved >> 23);
    bits = (moved & 0x007fffffu) + 0x3f3504f3u;
    float m;
    memcpy(&m, &bits, 4);
    const float f = m - 1.0f, square = f * f;
    float p = 7.0376836292e-2f;
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    const float tail = f * square * p - 2.12194440e-4f * e - 0.5f * square;
    return f + tail + 0.693359375f * e;
}

// Sine and cosine of 2 pi (word + 1/2) / 2^32.
static inline void sine_cosine(uint32_t word, float& sine, float& cosine) {
    const uint32_t shifted = word + 0x20000000u;  // an eighth of a turn
    const uint32_t quadrant = shifted >> 30;      // nearest quarter
    const int32_t rest = (int32_t)(shifted & 0x3fffffffu) - 0x20000000;
    const float x = ((float)rest + 0.5f) * 1.4629180792671596e-9f;  // 2 pi / 2^32
    const float z = x * x;
    const float s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * x + x;
    const float c =
        ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z +
        1.0f;
    const float first = quadrant & 1 ? c : s, second = quadrant & 1 ? s : c;
    sine = quadrant & 2 ? -first : first;
    cosine = (quadrant + 1) & 2 ? -second : second;
}

void box_muller(const uint32_t* radius_word, const uint32_t* angle_word, float* first, float* second) {
    for (int i = 0; i < group; ++i) {
        const float square = -2.0f * log_of_fraction(radius_word[i]);
        const float radius = sqrtf(square > 0.0f ? square : 0.0f);
        float sine, cosine;
        sine_cosine(angle_word[i], sine, cosine);
        first[i] = radius * cosine;
        second[i] = radius * sine;
    }
}

void normal(uint64_t seed, uint64_t step, uint64_t first_block, size_t blocks, float* to) {
    for (size_t from = 0; from < blocks; from += group) {
        Words w;
        float values[4][group];
        philox(seed, step, first_block + from, w);
        box_muller(w.word[0], w.word[1], values[0], values[1]);
        box_muller(w.word[2], w.word[3], values[2], values[3]);
        const int count = blocks - from < group ? (int)(blocks - from) : group;
        for (int i = 0; i < count; ++i, to += 4) {
            for (int part = 0; part < 4; ++part) to[part] = values[part][i];
        }
    }
}

void add_noise(const float* from, const float* noise, float sigma, size_t count, float* to) {
    for (size_t i = 0; i < count; ++i) to[i] = from[i] + sigma * noise[i];
}

}  // namespace

extern const PerturbKernels perturb_kernels = {normal, add_noise};

}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
