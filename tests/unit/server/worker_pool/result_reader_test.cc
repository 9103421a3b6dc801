#include "server/worker_pool/result_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "worker/memory/result_memory.h"

namespace lockstep::server {
namespace {

using ::testing::HasSubstr;
using worker::ResultMemory;

constexpr size_t kUnit = worker::kResultAlignment;

class ResultReaderTest : public ::testing::Test {
 protected:
  ResultReaderTest() {
    auto reader = ResultReader::Make();
    EXPECT_TRUE(reader.ok()) << reader.status();
    if (!reader.ok()) return;
    reader_ = *std::move(reader);
    EXPECT_TRUE(memory_->UseFile(reader_->fd()));
  }

  // The two halves of what a worker leaves.
  std::optional<worker::v1::SharedColumns> Leave(void* memory, int half) {
    const auto place = memory_->Lend(memory, 1);
    if (!place.has_value()) return std::nullopt;
    worker::v1::SharedColumns columns;
    columns.set_block(place->block);
    columns.set_block_offset(place->offset);
    columns.set_block_bytes(place->num_bytes);
    columns.set_num_bytes(place->num_bytes / 2);
    columns.set_offset(half == 0 ? 0 : place->num_bytes / 2);
    return columns;
  }

  std::unique_ptr<ResultReader> reader_;
  std::unique_ptr<ResultMemory> memory_ = std::make_unique<ResultMemory>();
};

TEST_F(ResultReaderTest, WhatTheWorkerWroteIsReadWhereItLies) {
  auto* const memory = static_cast<char*>(memory_->Take(kUnit));
  std::strcpy(memory, "first");
  std::strcpy(memory + kUnit / 2, "second");
  const auto first = reader_->Open(*Leave(memory, 0));
  const auto second = reader_->Open(*Leave(memory, 1));
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(first->bytes.size(), kUnit / 2);
  EXPECT_STREQ(first->bytes.data(), "first");
  EXPECT_STREQ(second->bytes.data(), "second");
  memory[0] = 'F';
  EXPECT_STREQ(first->bytes.data(), "First") << "a copy, where none should be";
}

TEST_F(ResultReaderTest, TheWorkerWritesThereAgainWhenTheLastCopyOfEveryPartHasGone) {
  void* const memory = memory_->Take(kUnit);
  auto first = reader_->Open(*Leave(memory, 0));
  auto second = reader_->Open(*Leave(memory, 1));
  ASSERT_TRUE(first.ok() && second.ok());
  memory_->GiveBack(memory);
  auto copy = *first;
  *first = LogitShard();
  *second = LogitShard();
  EXPECT_NE(memory_->Take(kUnit), memory);
  copy = LogitShard();
  EXPECT_EQ(memory_->Take(kUnit), memory);
}

TEST_F(ResultReaderTest, WhatWasOpenedOutlivesReaderAndWorker) {
  auto* const memory = static_cast<char*>(memory_->Take(kUnit));
  std::strcpy(memory, "still here");
  const auto shard = reader_->Open(*Leave(memory, 0));
  ASSERT_TRUE(shard.ok()) << shard.status();
  memory_.reset();
  reader_.reset();
  EXPECT_STREQ(shard->bytes.data(), "still here");
}

TEST_F(ResultReaderTest, PlacesThatTheFileHasNotAreRefusedWithTheReason) {
  const worker::v1::SharedColumns good = *Leave(memory_->Take(kUnit), 0);
  const auto error = [&](auto change) {
    worker::v1::SharedColumns columns = good;
    change(columns);
    const auto shard = reader_->Open(columns);
    EXPECT_EQ(shard.status().code(), absl::StatusCode::kInternal);
    return std::string(shard.status().message());
  };
  constexpr uint64_t kHuge = ~uint64_t{0} - kUnit + 1;
  EXPECT_THAT(error([](auto& columns) { columns.set_block(1024); }), HasSubstr("block 1024"));
  EXPECT_THAT(error([](auto& columns) { columns.set_block_offset(0); }), HasSubstr("at 0 of its"));
  EXPECT_THAT(error([](auto& columns) { columns.set_block_offset(kUnit + 4096); }),
              HasSubstr("no such block"));
  EXPECT_THAT(error([](auto& columns) { columns.set_block_offset(64 * kUnit); }),
              HasSubstr("the file of 4194304 bytes has no such block"));
  EXPECT_THAT(error([](auto& columns) { columns.set_block_bytes(kHuge); }),
              HasSubstr("no such block"));
  EXPECT_THAT(error([](auto& columns) { columns.set_block_bytes(0); }), HasSubstr("no such block"));
  EXPECT_THAT(error([](auto& columns) { columns.set_num_bytes(0); }), HasSubstr("no such part"));
  EXPECT_THAT(error([](auto& columns) { columns.set_offset(kUnit); }), HasSubstr("no such part"));
  EXPECT_THAT(error([](auto& columns) { columns.set_num_bytes(kHuge); }),
              HasSubstr("no such part"));
  EXPECT_TRUE(reader_->Open(good).ok());
}

TEST_F(ResultReaderTest, TheFileDoesNotBecomeShorter) {
  EXPECT_NE(ftruncate(reader_->fd(), 0), 0);
  EXPECT_EQ(errno, EPERM);
}

}  // namespace
}  // namespace lockstep::server
