#include "engine/thread_pool.h"

namespace dipedge {
namespace {

// How often a worker looks for the next job before it sleeps. A step is some eighty jobs in a row with
// microseconds between them; waking a sleeping thread costs more than that.
constexpr int spins_before_sleep = 20000;

inline void relax() {
#if defined(__x86_64__) || defined(_M_X64)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    // Waits some tens of cycles. The instruction named `yield` waits for nothing on most processors.
    __asm__ volatile("isb" ::: "memory");
#else
    std::this_thread::yield();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads, void (*prepare)()) {
    for (int worker = 1; worker < threads; ++worker) {
        workers_.emplace_back([this, worker, prepare] {
            if (prepare) prepare();
            work(worker);
        });
    }
}

ThreadPool::~ThreadPool() {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(int count, const std::function<void(int, int)>& body) {
    if (workers_.empty() || count <= 1) {
        for (int task = 0; task < count; ++task) body(task, 0);
        return;
    }
    body_ = &body;
    count_ = count;
    next_.store(0, std::memory_order_relaxed);
    busy_.store((int)workers_.size(), std::memory_order_relaxed);
    {
        std::lock_guard<std::mutex> lock(mutex_);
        generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    take_tasks(0);
    for (int spins = 0; busy_.load(std::memory_order_acquire) > 0; ++spins) {
        if (spins < spins_before_sleep) {
            relax();
        } else {
            std::this_thread::yield();
        }
    }
}

void ThreadPool::take_tasks(int worker) {
    for (int task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) {
        (*body_)(task, worker);
    }
}

void ThreadPool::work(int worker) {
    unsigned seen = 0;
    while (true) {
        for (int spins = 0; spins < spins_before_sleep; ++spins) {
            if (generation_.load(std::memory_order_acquire) != seen || stop_) break;
            relax();
        }
        {
            std::unique_lock<std::mutex> lock(mutex_);
            wake_.wait(lock, [&] { return generation_.load() != seen || stop_; });
            if (stop_) return;
            seen = generation_.load();
        }
        take_tasks(worker);
        busy_.fetch_sub(1, std::memory_order_release);
    }
}

}  // namespace dipedge
