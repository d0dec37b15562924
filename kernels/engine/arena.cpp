#include "engine/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>

namespace dipedge {
namespace {

constexpr size_t alignment = 128;  // two cache lines: the adjacent-line prefetcher works in pairs

size_t read_size(const char* path, const char* format) {
    std::FILE* file = std::fopen(path, "r");
    if (!file) return SIZE_MAX;
    char line[256];
    unsigned long long value = 0;
    size_t found = SIZE_MAX;
    while (std::fgets(line, sizeof line, file)) {
        if (std::sscanf(line, format, &value) == 1) {
            found = (size_t)value;
            break;
        }
    }
    std::fclose(file);
    return found;
}

}  // namespace

size_t available_memory() {
    size_t available = read_size("/proc/meminfo", "MemAvailable: %llu kB");
    if (available != SIZE_MAX) available *= 1024;
    // A container may be allowed less than the machine has (control groups, version 2).
    const size_t limit = read_size("/sys/fs/cgroup/memory.max", "%llu");
    const size_t used = read_size("/sys/fs/cgroup/memory.current", "%llu");
    if (limit != SIZE_MAX && used != SIZE_MAX) {
        available = std::min(available, limit > used ? limit - used : 0);
    }
    return available;
}

Arena::~Arena() {
    if (memory_) munmap(memory_, bytes_);
}

Buffer* Arena::add(size_t floats, int operation) {
    buffers_.push_back(std::make_unique<Buffer>());
    Buffer* buffer = buffers_.back().get();
    buffer->floats = floats;
    buffer->first = buffer->last = operation;
    return buffer;
}

Buffer* Arena::add_persistent(size_t floats) {
    Buffer* buffer = add(floats, 0);
    buffer->first = std::numeric_limits<int>::min();
    buffer->last = std::numeric_limits<int>::max();
    return buffer;
}

void Arena::place() {
    struct Placed {
        Buffer* buffer;
        size_t begin, end;
    };
    std::vector<Buffer*> order;
    for (auto& buffer : buffers_) order.push_back(buffer.get());
    std::stable_sort(order.begin(), order.end(),
                     [](const Buffer* a, const Buffer* b) { return a->floats > b->floats; });
    std::vector<Placed> placed;  // by begin; largest first into the lowest gap that is free long enough
    for (Buffer* buffer : order) {
        const size_t size = (buffer->floats * sizeof(float) + alignment - 1) / alignment * alignment;
        size_t begin = 0;
        for (const Placed& other : placed) {
            const bool meet = buffer->first <= other.buffer->last && other.buffer->first <= buffer->last;
            if (!meet || other.end <= begin) continue;
            if (other.begin >= begin + size) break;
            begin = other.end;
        }
        const Placed entry{buffer, begin, begin + size};
        placed.insert(std::upper_bound(placed.begin(), placed.end(), entry,
                                       [](const Placed& a, const Placed& b) { return a.begin < b.begin; }),
                      entry);
        bytes_ = std::max(bytes_, begin + size);
    }
    bytes_ = std::max<size_t>(bytes_, alignment);
    void* memory = MAP_FAILED;
    const size_t available = available_memory();
    if (bytes_ <= available) {
        memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    if (memory == MAP_FAILED) {
        char text[160];
        std::snprintf(text, sizeof text, "the fit needs %.0f MiB of memory; %.0f MiB are available",
                      bytes_ / 1048576.0, available == SIZE_MAX ? 0.0 : available / 1048576.0);
        const size_t needed = bytes_;
        bytes_ = 0;
        throw OutOfMemory(text, needed);
    }
    madvise(memory, bytes_, MADV_HUGEPAGE);
    memory_ = static_cast<char*>(memory);
    for (const Placed& entry : placed) {
        entry.buffer->data = reinterpret_cast<float*>(memory_ + entry.begin);
    }
}

}  // namespace dipedge
