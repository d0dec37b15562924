#include "bindings/c/initial.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace dipedge::c_api {

Twister::Twister(uint32_t seed) { this->seed(seed); }

Twister::Twister(const std::vector<uint32_t>& key) {
    seed(19650218u);
    const int length = (int)key.size();
    int i = 1, j = 0;
    for (int left = std::max(words, length); left; --left) {
        state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1664525u)) + key[j] + (uint32_t)j;
        if (++i >= words) state_[0] = state_[words - 1], i = 1;
        if (++j >= length) j = 0;
    }
    for (int left = words - 1; left; --left) {
        state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1566083941u)) - (uint32_t)i;
        if (++i >= words) state_[0] = state_[words - 1], i = 1;
    }
    state_[0] = 0x80000000u;
}

void Twister::seed(uint32_t seed) {
    state_[0] = seed;
    for (int i = 1; i < words; ++i) {
        state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + (uint32_t)i;
    }
}

void Twister::refill() {
    constexpr int middle = 397;
    for (int i = 0; i < words; ++i) {
        const uint32_t y = (state_[i] & 0x80000000u) | (state_[(i + 1) % words] & 0x7fffffffu);
        state_[i] = state_[(i + middle) % words] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0u);
    }
    used_ = 0;
}

uint32_t Twister::next() {
    if (used_ == words) refill();
    uint32_t y = state_[used_++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

// PyTorch keeps 24 bits of each word and rounds once. Product and sum are exact in double, so that a compiler
// that fuses them changes nothing.
void Twister::uniform(float low, float high, size_t count, float* to) {
    const double width = (double)(high - low) * 0x1p-24;
    for (size_t i = 0; i < count; ++i) to[i] = (float)((double)(next() & 0xffffffu) * width + (double)low);
}

namespace {

// One convolution of the network, as PyTorch's nn.Conv2d draws it: weight, then bias, both by the fan-in.
class Drawing {
  public:
    Drawing(Program& program, uint64_t seed) : program_(program), twister_((uint32_t)seed) {}

    void conv(const std::string& name) {
        const Parameter& weight = parameter(name + ".weight");
        size_t fan_in = 1;
        for (size_t i = 1; i < weight.shape.size(); ++i) fan_in *= (size_t)weight.shape[i];
        // kaiming_uniform_ with a = sqrt(5), whose detour decides the last bit of the bound: the gain is
        // sqrt(2 / (1 + sqrt(5)^2)).
        constexpr double gain = 0x1.279a74590331cp-1, root3 = 0x1.bb67ae8584caap+0;
        draw(weight, root3 * (gain / std::sqrt((double)fan_in)));
        draw(parameter(name + ".bias"), 1 / std::sqrt((double)fan_in));
    }

    void norm(const std::string& name) {
        set(parameter(name + ".weight"), 1.0f);
        set(parameter(name + ".bias"), 0.0f);
    }

    void block(const std::string& name) {
        conv(name + ".conv");
        norm(name + ".bn");
    }

  private:
    const Parameter& parameter(const std::string& name) {
        const Parameter* found = program_.parameters().find(name);
        if (!found) throw std::logic_error("no parameter is named '" + name + "'");
        return *found;
    }

    void draw(const Parameter& parameter, double bound) {
        values_.resize(parameter.count());
        twister_.uniform((float)-bound, (float)bound, values_.size(), values_.data());
        write(parameter);
    }

    void set(const Parameter& parameter, float value) {
        values_.assign(parameter.count(), value);
        write(parameter);
    }

    void write(const Parameter& parameter) {
        Parameters::write(parameter, values_.data(), program_.parameters().values);
    }

    Program& program_;
    Twister twister_;
    std::vector<float> values_;
};

float coordinate(int index, int count) { return (float)((double)index / (double)std::max(count - 1, 1)); }

}  // namespace

void set_initial_weights(Program& program, uint64_t seed) {
    Drawing drawing(program, seed);
    const NetworkSpec& network = program.spec().network;
    for (size_t i = 0; i < network.levels.size(); ++i) {
        const std::string level = "level" + std::to_string(i);
        drawing.norm(level + ".merge.bn");
        if (network.levels[i].skip) drawing.block(level + ".skip");
        drawing.block(level + ".down");
        drawing.block(level + ".refine");
        drawing.block(level + ".up");
        if (network.need1x1_up) drawing.block(level + ".up1x1");
    }
    drawing.conv("head.conv");
    if (const Parameter* learned = program.parameters().find("encoding.frequencies")) {
        const std::vector<double>& given = program.spec().encoding.frequencies;
        const std::vector<float> rounded(given.begin(), given.end());
        Parameters::write(*learned, rounded.data(), program.parameters().values);
    }
    program.weights_changed();
}

void set_initial_input(Program& program, const PresetRow& row, uint64_t seed) {
    const ProgramSpec& spec = program.spec();
    std::vector<float> z((size_t)spec.height * spec.width * spec.encoding.channels);
    if (row.grid_repeats) {
        float* to = z.data();
        for (int i = 0; i < spec.height; ++i) {
            for (int j = 0; j < spec.width; ++j) {
                for (int k = 0; k < row.grid_repeats; ++k) {
                    *to++ = coordinate(j, spec.width);
                    *to++ = coordinate(i, spec.height);
                }
            }
        }
    } else if (row.noise_scale > 0) {
        // A stream of its own: the published code draws z before or after the net, depending on the task.
        constexpr uint32_t noise_stream = 0x7a;
        Twister twister(std::vector<uint32_t>{(uint32_t)seed, (uint32_t)(seed >> 32), noise_stream});
        const double low = row.noise_centred ? -row.noise_scale / 2 : 0.0;
        twister.uniform((float)low, (float)(low + row.noise_scale), z.size(), z.data());
    } else {
        return;  // Fourier features, which the program computes
    }
    program.encoding().set_values(z.data());
    program.forget_forward();
}

}  // namespace dipedge::c_api
