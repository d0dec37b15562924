// Which pixels a step works on where the picture is largest: one of each 2 x 2 block.
#pragma once

#include <cstdint>
#include <vector>

namespace dipedge {

// Four steps make a cycle. A cycle draws one bit per pair of rows and one per pair of columns, so that a
// step's pixels are not on a grid (features near the grid's frequency would alias to a constant), and its
// four steps see every pixel once, in an order that is drawn too. At the end of an odd side the last row or
// column stands for both of its pair. Of stacked frames each has the same pixels. dipedge/engines/sampling.py
// draws the same positions.
class Sampling {
  public:
    static constexpr int cycle = 4;

    // `height` is that of all frames.
    Sampling(int height, int width, int frames = 1) : height_(height), width_(width), frames_(frames) {
        rows_.resize((height / frames + 1) / 2 * frames);
        columns_.resize((width + 1) / 2);
        draw(0, 0);
    }

    int height() const { return (int)rows_.size(); }
    int width() const { return (int)columns_.size(); }
    int full_height() const { return height_; }
    int full_width() const { return width_; }
    int frame_height() const { return height_ / frames_; }

    // Positions in the whole picture, ascending; entry i is 2i or 2i + 1.
    const std::vector<int>& rows() const { return rows_; }
    const std::vector<int>& columns() const { return columns_; }

    // The pixels of a step.
    void draw(uint64_t seed, uint64_t step) {
        key_ = mix(seed ^ mix(step / cycle));
        own_ = (int)((step % cycle) ^ (key_ & 3));
        turn(0);
    }

    // Those of the cycle's other steps, 1 to 3; 0 goes back to the step's own.
    void turn(int other) {
        const int corner = own_ ^ other;
        place(mix(key_ + 1), corner >> 1, height_, frames_, rows_);
        place(mix(key_ + 2), corner & 1, width_, 1, columns_);
    }

    // Whether the whole picture is computed in this step: at the end of each cycle, and in a fit's first step,
    // so that there always is one.
    static bool completes(uint64_t step) { return step == 0 || (step + 1) % cycle == 0; }

  private:
    // The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
    static uint64_t mix(uint64_t z) {
        z += 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    }

    static void place(uint64_t key, int flip, int count, int frames, std::vector<int>& to) {
        const int of_frame = count / frames, pairs = (int)to.size() / frames;
        for (int i = 0; i < (int)to.size(); ++i) {
            const int pair = i % pairs, second = (int)(mix(key + pair) & 1) ^ flip;
            const int drawn = 2 * pair + second < of_frame ? 2 * pair + second : of_frame - 1;
            to[i] = i / pairs * of_frame + drawn;
        }
    }

    int height_, width_, frames_;
    uint64_t key_ = 0;
    int own_ = 0;
    std::vector<int> rows_, columns_;
};

}  // namespace dipedge
