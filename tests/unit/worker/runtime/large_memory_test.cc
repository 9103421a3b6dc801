#include "worker/runtime/large_memory.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

#include "worker/runtime/unfilled_vector.h"

namespace lockstep::worker {
namespace {

constexpr size_t kPage = LargeMemory::kPage;

TEST(LargeMemoryTest, WhatWasGivenBackIsTakenAgainBySize) {
  void* const first = LargeMemory::Take(3 * kPage + 1);
  std::memset(first, 1, 3 * kPage + 1);
  void* const second = LargeMemory::Take(4 * kPage);
  void* const larger = LargeMemory::Take(5 * kPage);
  LargeMemory::GiveBack(second, 4 * kPage);
  LargeMemory::GiveBack(larger, 5 * kPage);
  LargeMemory::GiveBack(first, 3 * kPage + 1);
  void* const other_size = LargeMemory::Take(6 * kPage);
  EXPECT_NE(other_size, larger);
  std::memset(other_size, 1, 6 * kPage);
  EXPECT_EQ(LargeMemory::Take(4 * kPage), first);
  EXPECT_EQ(LargeMemory::Take(4 * kPage), second);
  EXPECT_EQ(LargeMemory::Take(5 * kPage), larger);
  LargeMemory::GiveBack(first, 4 * kPage);
  LargeMemory::GiveBack(second, 4 * kPage);
  LargeMemory::GiveBack(larger, 5 * kPage);
  LargeMemory::GiveBack(other_size, 6 * kPage);
}

TEST(LargeMemoryTest, NoMoreIsKeptThanTheLimit) {
  constexpr size_t kHalf = LargeMemory::kMaxKept / 2;
  void* const first = LargeMemory::Take(kHalf);
  void* const second = LargeMemory::Take(kHalf + kPage);
  *static_cast<char*>(first) = 1;
  LargeMemory::GiveBack(first, kHalf);
  LargeMemory::GiveBack(second, kHalf + kPage);
  EXPECT_EQ(LargeMemory::Take(kHalf + kPage), second);
  LargeMemory::GiveBack(second, kHalf + kPage);
  // `first` has gone: what is of its size is new, and was never written.
  void* const again = LargeMemory::Take(kHalf);
  EXPECT_EQ(*static_cast<const char*>(again), 0);
  LargeMemory::GiveBack(again, kHalf);
}

}  // namespace
}  // namespace lockstep::worker
