#include "worker/kernels/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <vector>

namespace lockstep::worker {
namespace {

TEST(ThreadPoolTest, EveryIndexRunsOnceWhateverTheSizes) {
  for (int num_threads = 1; num_threads <= 5; ++num_threads) {
    ThreadPool pool(num_threads);
    EXPECT_EQ(pool.num_threads(), num_threads);
    for (const int64_t size : {0, 1, 2, 3, 7, 64, 1000}) {
      std::vector<std::atomic<int>> visits(static_cast<size_t>(size));
      pool.ParallelFor(size, [&](int thread, int64_t begin, int64_t end) {
        EXPECT_LT(thread, num_threads);
        for (int64_t i = begin; i < end; ++i) visits[static_cast<size_t>(i)].fetch_add(1);
      });
      for (const auto& count : visits) EXPECT_EQ(count.load(), 1);
    }
  }
}

TEST(ThreadPoolTest, WritesAreVisibleFromLoopToLoop) {
  ThreadPool pool(4);
  std::vector<int64_t> values(97, 0);
  for (int round = 0; round < 5000; ++round) {
    pool.ParallelFor(97, [&](int, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ++values[static_cast<size_t>(i * 5 % 97)];
    });
  }
  for (const int64_t value : values) EXPECT_EQ(value, 5000);
}

TEST(ThreadPoolTest, BlockedThreadsWakeForTheNextLoop) {
  ThreadPool pool(3);
  std::atomic<int64_t> total{0};
  for (int round = 0; round < 50; ++round) {
    // Longer than the threads spin: serial work of the caller.
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1);
    while (std::chrono::steady_clock::now() < end) {
    }
    pool.ParallelFor(10, [&](int, int64_t begin, int64_t stop) { total += stop - begin; });
  }
  EXPECT_EQ(total.load(), 500);
}

}  // namespace
}  // namespace lockstep::worker
