// A pool of worker threads that share out numbered tasks.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace dipedge {

// Tasks are handed out in order to whichever worker is free. What a task computes must depend on its
// number alone, never on the worker: that is what keeps results equal for every thread count.
class ThreadPool {
  public:
    // Every worker calls `prepare` once, where it is not null.
    explicit ThreadPool(int threads, void (*prepare)() = nullptr);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int size() const { return (int)workers_.size() + 1; }

    // Runs body(task, worker) for every task in [0, count) and returns when all are done; the caller
    // is worker 0.
    void run(int count, const std::function<void(int task, int worker)>& body);

  private:
    void work(int worker);
    void take_tasks(int worker);

    std::vector<std::thread> workers_;
    std::mutex mutex_;
    std::condition_variable wake_;
    const std::function<void(int, int)>* body_ = nullptr;
    int count_ = 0;
    std::atomic<int> next_{0};
    std::atomic<int> busy_{0};
    std::atomic<unsigned> generation_{0};
    std::atomic<bool> stop_{false};
};

}  // namespace dipedge
