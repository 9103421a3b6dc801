#include "worker/kernels/thread_pool.h"

#include <immintrin.h>

#include <algorithm>

namespace lockstep::worker {
namespace {

// About 20 to 50 microseconds: longer than the serial code between two loops of a forward pass.
constexpr int kSpinIterations = 1000;

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  for (int thread = 1; thread < num_threads; ++thread) {
    threads_.emplace_back([this, thread] { RunWorker(thread); });
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    generation_.fetch_add(1);
  }
  work_ready_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::ParallelFor(int64_t size, const RangeTask& task) {
  if (size <= 0) return;
  if (threads_.empty() || size == 1) {
    task(0, 0, size);
    return;
  }
  task_ = &task;
  size_ = size;
  num_pending_.store(static_cast<int>(threads_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1);
  // A thread counts itself as blocked before it looks at generation_ for the last time, so either
  // it sees this generation or it is seen here.
  if (num_blocked_.load() > 0) {
    std::lock_guard<std::mutex> lock(mutex_);
    work_ready_.notify_all();
  }
  RunRange(0, task, size);
  for (int spins = 0; num_pending_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < kSpinIterations) {
      _mm_pause();
      continue;
    }
    std::unique_lock<std::mutex> lock(mutex_);
    caller_blocked_.store(true);
    work_done_.wait(lock, [this] { return num_pending_.load() == 0; });
    caller_blocked_.store(false);
  }
}

void ThreadPool::RunRange(int thread, const RangeTask& task, int64_t size) const {
  const int64_t num = num_threads();
  const int64_t begin = size * thread / num;
  const int64_t end = size * (thread + 1) / num;
  if (begin < end) task(thread, begin, end);
}

uint64_t ThreadPool::WaitForWork(uint64_t seen) {
  for (int spins = 0; spins < kSpinIterations; ++spins) {
    const uint64_t current = generation_.load();
    if (current != seen) return current;
    _mm_pause();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  num_blocked_.fetch_add(1);
  work_ready_.wait(lock, [&] { return generation_.load() != seen; });
  num_blocked_.fetch_sub(1);
  return generation_.load();
}

void ThreadPool::RunWorker(int thread) {
  uint64_t seen = 0;
  while (true) {
    seen = WaitForWork(seen);
    if (stopping_) return;
    RunRange(thread, *task_, size_);
    if (num_pending_.fetch_sub(1) == 1 && caller_blocked_.load()) {
      std::lock_guard<std::mutex> lock(mutex_);
      work_done_.notify_one();
    }
  }
}

}  // namespace lockstep::worker
