#include "worker/runtime/large_memory.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

#include "worker/runtime/unfilled_vector.h"

namespace lockstep::worker {
namespace {

TEST(LargeMemoryTest, TheLastThatWasGivenBackIsTakenAgain) {
  void* first = LargeMemory::Take(3 * LargeMemory::kPage + 1);
  std::memset(first, 1, 3 * LargeMemory::kPage + 1);
  void* second = LargeMemory::Take(4 * LargeMemory::kPage);
  EXPECT_NE(first, second);
  LargeMemory::GiveBack(second, 4 * LargeMemory::kPage);
  LargeMemory::GiveBack(first, 3 * LargeMemory::kPage + 1);
  void* other_size = LargeMemory::Take(5 * LargeMemory::kPage);
  EXPECT_NE(other_size, first);
  // As many whole pages.
  EXPECT_EQ(LargeMemory::Take(4 * LargeMemory::kPage), first);
  LargeMemory::GiveBack(first, 4 * LargeMemory::kPage);
  LargeMemory::GiveBack(other_size, 5 * LargeMemory::kPage);
}

TEST(LargeMemoryTest, IsAlignedToItsPages) {
  void* memory = LargeMemory::Take(LargeMemory::kPage);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % LargeMemory::kPage, 0u);
  LargeMemory::GiveBack(memory, LargeMemory::kPage);
}

TEST(UnfilledVectorTest, HoldsWhatWasWrittenWhateverItsSize) {
  for (const size_t num : {size_t{3}, LargeMemory::kPage / sizeof(float), LargeMemory::kPage}) {
    UnfilledVector<float> values(num);
    values.front() = 1.0f;
    values.back() = 2.0f;
    const UnfilledVector<float> moved = std::move(values);
    EXPECT_EQ(moved.size(), num);
    EXPECT_EQ(moved.front(), 1.0f);
    EXPECT_EQ(moved.back(), 2.0f);
  }
}

}  // namespace
}  // namespace lockstep::worker
