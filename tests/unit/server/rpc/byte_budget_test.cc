#include "server/sync/byte_budget.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <utility>
#include <vector>

namespace lockstep::server {
namespace {

TEST(ByteBudget, GivesOutWhatItHasAndTakesItBack) {
  ByteBudget budget(10);
  ByteBudget::Lease first = budget.Take(4);
  ByteBudget::Lease second = budget.Take(6);
  EXPECT_TRUE(first != nullptr && second != nullptr);
  EXPECT_EQ(budget.num_used(), 10u);
  EXPECT_EQ(budget.Take(1), nullptr);
  EXPECT_NE(budget.Take(0), nullptr);
  first = nullptr;
  EXPECT_EQ(budget.num_used(), 6u);
  const ByteBudget::Lease moved = std::move(second);
  EXPECT_EQ(budget.num_used(), 6u);
  EXPECT_NE(budget.Take(4), nullptr);
}

TEST(ByteBudget, WhatIsRefusedTakesNothing) {
  ByteBudget budget(10);
  const ByteBudget::Lease lease = budget.Take(6);
  const ByteBudget::Lease refused = budget.Take(5);
  EXPECT_EQ(refused, nullptr);
  EXPECT_EQ(budget.num_used(), 6u);
  EXPECT_NE(budget.Take(4), nullptr);
}

TEST(ByteBudget, WhoComesAloneIsNeverRefused) {
  ByteBudget budget(10);
  const ByteBudget::Lease large = budget.Take(100);
  EXPECT_NE(large, nullptr);
  EXPECT_EQ(budget.Take(1), nullptr);
}

TEST(ByteBudget, ManyThreadsNeverTakeMoreThanThereIs) {
  ByteBudget budget(8);
  std::atomic<uint64_t> num_given = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10000; ++i) {
        const ByteBudget::Lease lease = budget.Take(3);
        if (lease == nullptr) continue;
        EXPECT_LE(budget.num_used(), 8u);
        ++num_given;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(num_given, 0u);
  EXPECT_EQ(budget.num_used(), 0u);
}

}  // namespace
}  // namespace lockstep::server
