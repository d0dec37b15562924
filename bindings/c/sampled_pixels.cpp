// The random pixels of a VarianceWindow: numpy's default_rng(0).choice(total, wanted, replace=False), sorted.
//
// That is PCG64 (O'Neill, 2014: XSL-RR over a linear congruential generator of 128 bits), Lemire's bounded
// integers, and Floyd's sampling or the tail of a shuffle, whichever numpy takes for such numbers. NumPy
// promises that its distributions may change; tests/test_c_api.py would notice.
#include <algorithm>
#include <numeric>
#include <unordered_set>

#include "bindings/c/stopping.h"

namespace dipedge::c_api {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr Wide wide(uint64_t high, uint64_t low) { return (Wide)high << 64 | low; }

// The generator that default_rng(0) begins with: SeedSequence(0) is always the same, so its result stands
// here.
class Pcg64 {
  public:
    // numpy halves a 64-bit word: the low half first, the high one with the next call.
    uint32_t next() {
        if (has_half_) {
            has_half_ = false;
            return half_;
        }
        const uint64_t word = next_word();
        has_half_ = true, half_ = (uint32_t)(word >> 32);
        return (uint32_t)word;
    }

    // One of 0 to `most`, evenly (Lemire, 2019).
    uint32_t up_to(uint32_t most) {
        if (most == 0) return 0;
        const uint32_t count = most + 1;
        uint64_t product = (uint64_t)next() * count;
        if ((uint32_t)product < count) {
            const uint32_t threshold = (UINT32_MAX - most) % count;
            while ((uint32_t)product < threshold) product = (uint64_t)next() * count;
        }
        return (uint32_t)(product >> 32);
    }

  private:
    uint64_t next_word() {
        state_ = state_ * wide(0x2360ed051fc65da4, 0x4385df649fccf645) +
                 wide(0x418ddadb3af71a82, 0x588133bc447873a9);
        const uint64_t mixed = (uint64_t)(state_ >> 64) ^ (uint64_t)state_;
        const unsigned turn = (unsigned)(state_ >> 122);
        return mixed >> turn | mixed << (-turn & 63);
    }

    Wide state_ = wide(0x1aa1b5345996452d, 0x09585eb7a69561e3);
    bool has_half_ = false;
    uint32_t half_ = 0;
};

}  // namespace

std::vector<uint32_t> sampled_pixels(size_t total, size_t wanted) {
    std::vector<uint32_t> found;
    if (wanted >= total) {
        found.resize(total);
        std::iota(found.begin(), found.end(), 0u);
        return found;
    }
    Pcg64 random;
    if (total > 10000 && wanted > total / 50) {  // shuffled from the end, as far as numbers are wanted
        found.resize(total);
        std::iota(found.begin(), found.end(), 0u);
        for (size_t i = total - 1; i >= total - wanted && i > 0; --i) {
            std::swap(found[i], found[random.up_to((uint32_t)i)]);
        }
        found.erase(found.begin(), found.end() - (ptrdiff_t)wanted);
    } else {  // Floyd's: what was drawn before is replaced by the largest that could have been
        std::unordered_set<uint32_t> drawn;
        for (size_t j = total - wanted; j < total; ++j) {
            const uint32_t value = random.up_to((uint32_t)j);
            found.push_back(drawn.insert(value).second ? value : (uint32_t)j);
            drawn.insert(found.back());
        }
    }
    std::sort(found.begin(), found.end());
    return found;
}

}  // namespace dipedge::c_api
