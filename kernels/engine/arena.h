// One block of memory for all buffers of a program, placed by their lifetimes.
#pragma once

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace dipedge {

// Not enough memory for a program; `needed` is the size of its arena in bytes.
struct OutOfMemory : std::runtime_error {
    OutOfMemory(const std::string& text, size_t needed) : std::runtime_error(text), needed(needed) {}
    size_t needed;
};

// A float array that lives from operation `first` to operation `last` of a step; its address is set
// when the plan is placed.
struct Buffer {
    size_t floats = 0;
    int first = 0;
    int last = 0;
    float* data = nullptr;

    // The same memory as cells of another kind.
    template <class Cell>
    Cell* as() const {
        return reinterpret_cast<Cell*>(data);
    }

    // Notes that operation `operation` reads or writes it.
    void touch(int operation) {
        if (operation < first) first = operation;
        if (operation > last) last = operation;
    }
};

// Two buffers whose lifetimes do not meet may share bytes.
class Arena {
  public:
    Arena() = default;
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    // A buffer used by operation `operation` at first; touch() makes it live longer.
    Buffer* add(size_t floats, int operation);

    // The same, its size counted in cells.
    template <class Cell>
    Buffer* add_cells(size_t cells, int operation) {
        return add((cells * sizeof(Cell) + sizeof(float) - 1) / sizeof(float), operation);
    }

    // A buffer that keeps its content between steps.
    Buffer* add_persistent(size_t floats);

    // Chooses offsets and takes the memory, zeroed. Throws OutOfMemory.
    void place();

    size_t bytes() const { return bytes_; }

  private:
    std::vector<std::unique_ptr<Buffer>> buffers_;
    char* memory_ = nullptr;
    size_t bytes_ = 0;
};

// Bytes that this process may still take, as far as the system tells; SIZE_MAX when it does not.
size_t available_memory();

}  // namespace dipedge
