#include "worker/memory/result_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "worker/memory/unfilled_vector.h"

namespace lockstep::worker {
namespace {

constexpr size_t kUnit = kResultAlignment;

TEST(ResultMemoryTest, WhatWasGivenBackIsTakenAgainBySize) {
  ResultMemory memory;
  void* const first = memory.Take(3 * kUnit + 1);
  std::memset(first, 1, 3 * kUnit + 1);
  void* const second = memory.Take(4 * kUnit);
  void* const larger = memory.Take(5 * kUnit);
  memory.GiveBack(second);
  memory.GiveBack(larger);
  memory.GiveBack(first);
  void* const other_size = memory.Take(6 * kUnit);
  EXPECT_NE(other_size, larger);
  std::memset(other_size, 1, 6 * kUnit);
  EXPECT_EQ(memory.Take(4 * kUnit), first);
  EXPECT_EQ(memory.Take(4 * kUnit), second);
  EXPECT_EQ(memory.Take(5 * kUnit), larger);
}

TEST(ResultMemoryTest, NoMoreIsKeptThanTheLimit) {
  ResultMemory memory;
  constexpr size_t kHalf = ResultMemory::kMaxKept / 2;
  void* const first = memory.Take(kHalf);
  void* const second = memory.Take(kHalf + kUnit);
  *static_cast<char*>(first) = 1;
  memory.GiveBack(first);
  memory.GiveBack(second);
  EXPECT_EQ(memory.Take(kHalf + kUnit), second);
  // `first` has gone: what is of its size is new, and was never written.
  EXPECT_EQ(*static_cast<const char*>(memory.Take(kHalf)), 0);
}

TEST(ResultMemoryTest, PrivateMemoryIsNotLent) {
  ResultMemory memory;
  EXPECT_FALSE(memory.Lend(memory.Take(kUnit), 1).has_value());
}

class ResultFileTest : public ::testing::Test {
 protected:
  ResultFileTest() : fd_(memfd_create("results", MFD_CLOEXEC | MFD_ALLOW_SEALING)) {}
  ~ResultFileTest() override { close(fd_); }

  std::string Read(uint64_t offset, size_t size) const {
    std::string bytes(size, 0);
    EXPECT_EQ(pread(fd_, bytes.data(), size, static_cast<off_t>(offset)),
              static_cast<ssize_t>(size));
    return bytes;
  }
  // As a frontend says it.
  void SayRead(uint32_t block) const {
    uint32_t count = 0;
    const auto offset = static_cast<off_t>(block * sizeof(count));
    ASSERT_EQ(pread(fd_, &count, sizeof(count), offset), sizeof(count));
    ASSERT_GT(count--, 0);
    ASSERT_EQ(pwrite(fd_, &count, sizeof(count), offset), sizeof(count));
  }
  uint64_t NumBytesInMemory() const {
    struct stat status = {};
    EXPECT_EQ(fstat(fd_, &status), 0);
    return static_cast<uint64_t>(status.st_blocks) * 512;
  }

  const int fd_;
};

TEST_F(ResultFileTest, WhatIsLentLiesInTheFileWhereItSays) {
  ResultMemory memory;
  ASSERT_TRUE(memory.UseFile(fd_));
  char* const first = static_cast<char*>(memory.Take(kUnit));
  char* const second = static_cast<char*>(memory.Take(2 * kUnit));
  std::strcpy(first, "first");
  std::strcpy(second + 2 * kUnit - 7, "second");
  const auto first_place = memory.Lend(first, 1);
  const auto second_place = memory.Lend(second, 1);
  ASSERT_TRUE(first_place.has_value());
  ASSERT_TRUE(second_place.has_value());
  EXPECT_NE(first_place->block, second_place->block);
  EXPECT_EQ(second_place->num_bytes, 2 * kUnit);
  EXPECT_EQ(Read(first_place->offset, 5), "first");
  EXPECT_EQ(Read(second_place->offset + 2 * kUnit - 7, 6), "second");
}

TEST_F(ResultFileTest, WhatIsLentIsNotTakenAgainBeforeAllItsReadersHaveRead) {
  ResultMemory memory;
  ASSERT_TRUE(memory.UseFile(fd_));
  void* const lent = memory.Take(kUnit);
  const auto place = memory.Lend(lent, 2);
  ASSERT_TRUE(place.has_value());
  memory.GiveBack(lent);
  void* const beside = memory.Take(kUnit);
  EXPECT_NE(beside, lent);
  SayRead(place->block);
  void* const again = memory.Take(kUnit);
  EXPECT_NE(again, lent);
  SayRead(place->block);
  EXPECT_EQ(memory.Take(kUnit), lent);
}

TEST_F(ResultFileTest, WhatIsKeptBeyondTheLimitLeavesTheMemory) {
  ResultMemory memory(/*max_kept_in_file=*/8 * kUnit);
  ASSERT_TRUE(memory.UseFile(fd_));
  void* const first = memory.Take(4 * kUnit);
  void* const second = memory.Take(5 * kUnit);
  EXPECT_GE(NumBytesInMemory(), 9 * kUnit);
  memory.GiveBack(first);
  memory.GiveBack(second);
  EXPECT_LT(NumBytesInMemory(), 6 * kUnit);
  EXPECT_EQ(memory.Take(5 * kUnit), second);
}

TEST_F(ResultFileTest, WhatIsKeptCanBeDroppedButNotWhatIsRead) {
  ResultMemory memory;
  ASSERT_TRUE(memory.UseFile(fd_));
  void* const lent = memory.Take(2 * kUnit);
  void* const kept = memory.Take(4 * kUnit);
  std::memset(lent, 1, 2 * kUnit);
  const auto place = memory.Lend(lent, 1);
  ASSERT_TRUE(place.has_value());
  memory.GiveBack(lent);
  memory.GiveBack(kept);
  memory.DropKept();
  EXPECT_LT(NumBytesInMemory(), 3 * kUnit);
  EXPECT_EQ(Read(place->offset, 1), "\1");
  SayRead(place->block);
  memory.DropKept();
  EXPECT_LT(NumBytesInMemory(), kUnit);
}

TEST_F(ResultFileTest, WithoutRoomInTheFileMemoryIsPrivate) {
  ResultMemory memory;
  ASSERT_TRUE(memory.UseFile(fd_));
  ASSERT_EQ(fcntl(fd_, F_ADD_SEALS, F_SEAL_GROW), 0);
  void* const taken = memory.Take(kUnit);
  std::memset(taken, 1, kUnit);
  EXPECT_FALSE(memory.Lend(taken, 1).has_value());
  memory.GiveBack(taken);
  EXPECT_EQ(memory.Take(kUnit), taken);
}

TEST_F(ResultFileTest, AFileThatCannotBeMappedIsNotUsed) {
  ResultMemory memory;
  EXPECT_FALSE(memory.UseFile(-1));
  EXPECT_FALSE(memory.Lend(memory.Take(kUnit), 1).has_value());
}

TEST_F(ResultFileTest, LargeVectorsOfResultsLieInTheProcesssFile) {
  ASSERT_TRUE(ResultMemory::OfProcess().UseFile(fd_));
  UnfilledVector<float> small(16);
  EXPECT_FALSE(ResultMemory::OfProcess().Lend(small.data(), 1).has_value());
  UnfilledVector<float> large(kUnit / sizeof(float));
  large[0] = 0.5F;
  const auto place = ResultMemory::OfProcess().Lend(large.data(), 1);
  ASSERT_TRUE(place.has_value());
  float value = 0;
  std::memcpy(&value, Read(place->offset, sizeof(value)).data(), sizeof(value));
  EXPECT_EQ(value, 0.5F);
}

}  // namespace
}  // namespace lockstep::worker
