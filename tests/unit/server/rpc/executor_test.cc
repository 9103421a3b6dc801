#include "server/sync/executor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace lockstep::server {
namespace {

TEST(Executor, RunsEverythingThatWasPostedBeforeItEnds) {
  std::atomic<int> ran = 0;
  {
    Executor executor(3);
    for (int i = 0; i < 1000; ++i) executor.Post([&ran] { ++ran; });
  }
  EXPECT_EQ(ran, 1000);
}

TEST(Strand, RunsTasksInOrderAndOneAtATime) {
  std::vector<int> order;  // no lock: the strand is one
  {
    Executor executor(4);
    Strand strand(executor);
    for (int i = 0; i < 10000; ++i) strand.Post([&order, i] { order.push_back(i); });
  }
  ASSERT_EQ(order.size(), 10000u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST(Strand, KeepsTheOrderOfEachPosterAmongSeveral) {
  std::vector<std::pair<int, int>> order;
  {
    Executor executor(4);
    Strand strand(executor);
    std::vector<std::thread> posters;
    for (int p = 0; p < 4; ++p) {
      posters.emplace_back([&, p] {
        for (int i = 0; i < 1000; ++i) strand.Post([&order, p, i] { order.emplace_back(p, i); });
      });
    }
    for (auto& poster : posters) poster.join();
  }
  ASSERT_EQ(order.size(), 4000u);
  int next[4] = {};
  for (const auto& [poster, i] : order) EXPECT_EQ(i, next[poster]++);
}

TEST(Strand, RunsWhatIsWaitingAfterItIsGone) {
  std::atomic<bool> ran = false;
  {
    Executor executor(1);
    Strand(executor).Post([&ran] { ran = true; });
  }
  EXPECT_TRUE(ran);
}

}  // namespace
}  // namespace lockstep::server
