#ifndef LOCKSTEP_WORKER_KERNELS_THREAD_POOL_H_
#define LOCKSTEP_WORKER_KERNELS_THREAD_POOL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace lockstep::worker {

// A borrowed callable `void(int thread, int64_t begin, int64_t end)`. It must outlive the call that
// it is passed to.
class RangeTask {
 public:
  template <typename Function>
  RangeTask(
      const Function& function)  // NOLINT(google-explicit-constructor): lambdas are passed directly
      : object_(&function), call_([](const void* object, int thread, int64_t begin, int64_t end) {
          (*static_cast<const Function*>(object))(thread, begin, end);
        }) {}

  void operator()(int thread, int64_t begin, int64_t end) const {
    call_(object_, thread, begin, end);
  }

 private:
  const void* object_;
  void (*call_)(const void*, int, int64_t, int64_t);
};

// A fixed set of threads that share loops. The calling thread is one of them, so one thread means
// no pool at all. Idle threads spin for some microseconds, because a forward pass starts many loops
// in a row, and then block.
//
// ParallelFor is for one caller at a time. Tasks must not throw and must not call ParallelFor.
class ThreadPool {
 public:
  // `num_threads` >= 1, the caller included.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(threads_.size()) + 1; }

  // Splits [0, size) into one contiguous range per thread, equal to within one, runs `task(thread,
  // begin, end)` on the ranges that are not empty (`thread` in [0, num_threads)), and returns when
  // all are done.
  void ParallelFor(int64_t size, const RangeTask& task);

 private:
  void RunWorker(int thread);
  void RunRange(int thread, const RangeTask& task, int64_t size) const;
  // Waits until `generation_` differs from `seen`; returns the new value.
  uint64_t WaitForWork(uint64_t seen);

  std::vector<std::thread> threads_;
  // Guards no data, which the atomics below order: it keeps a wake-up from slipping between a
  // waiter's last look and its sleep.
  std::mutex mutex_;
  std::condition_variable work_ready_;
  std::condition_variable work_done_;
  // Written by the caller before it advances generation_, read by the workers after they saw it
  // advance.
  const RangeTask* task_ = nullptr;
  int64_t size_ = 0;
  bool stopping_ = false;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> num_pending_{0};
  std::atomic<int> num_blocked_{0};
  std::atomic<bool> caller_blocked_{false};
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_KERNELS_THREAD_POOL_H_
