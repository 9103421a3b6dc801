#include "worker/link/result_messages.h"

#include <grpcpp/support/proto_buffer_reader.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/worker/v1/control_link.pb.h"
#include "worker/memory/result_memory.h"

namespace lockstep::worker {
namespace {

v1::StepResult Parsed(grpc::ByteBuffer bytes) {
  v1::WorkerMessage message;
  grpc::ProtoBufferReader reader(&bytes);
  EXPECT_TRUE(message.ParseFromZeroCopyStream(&reader));
  EXPECT_TRUE(message.has_step_result());
  return std::move(*message.mutable_step_result());
}

// `num_rows` rows of two floats, each filled with its position.
SlotLogits Rows(uint32_t slot, uint32_t position, uint32_t num_rows) {
  SlotLogits logits{slot, position, num_rows, {}};
  for (uint32_t row = 0; row < num_rows; ++row) {
    logits.logits.insert(logits.logits.end(), 2, static_cast<float>(position + row));
  }
  return logits;
}

std::string BytesOf(const SlotLogits& logits) {
  return {reinterpret_cast<const char*>(logits.logits.data()),
          logits.logits.size() * sizeof(float)};
}

TEST(ResultMessages, AResultIsOneMessage) {
  StepResult result;
  result.step = 3;
  result.state_hash = 44;
  result.duration_ns = 55;
  result.sampled.push_back({1, 2, 3, -0.5F, 1, {{3, -0.5F}, {4, -1.5F}}});
  result.prompt_tokens.push_back({2, 5, 6, -2.5F, 9, {}});
  const auto messages = EncodeResult(result);
  ASSERT_EQ(messages.size(), 1);
  const v1::StepResult message = Parsed(messages[0]);
  EXPECT_EQ(message.step(), 3);
  EXPECT_EQ(message.state_hash(), 44);
  EXPECT_EQ(message.duration_ns(), 55);
  EXPECT_FALSE(message.more());
  ASSERT_EQ(message.sampled_size(), 1);
  EXPECT_EQ(message.sampled(0).position(), 2);
  EXPECT_EQ(message.sampled(0).top(1).token_id(), 4);
  ASSERT_EQ(message.prompt_tokens_size(), 1);
  EXPECT_EQ(message.prompt_tokens(0).slot(), 2);
  EXPECT_EQ(message.prompt_tokens(0).token_id(), 6);
  EXPECT_EQ(message.prompt_tokens(0).logprob(), -2.5F);
}

TEST(ResultMessages, LogitsBeyondAPartsSizeAreSplitByRows) {
  StepResult result;
  result.step = 3;
  result.state_hash = 44;
  result.logits = {Rows(0, 10, 5), Rows(1, 0, 1)};
  const std::string expected = BytesOf(result.logits[0]) + BytesOf(result.logits[1]);
  const auto messages = EncodeResult(std::move(result), {.max_rows = 2, .max_part_bytes = 16});

  std::string joined;
  uint32_t position = 10;
  for (size_t i = 0; i < messages.size(); ++i) {
    const v1::StepResult part = Parsed(messages[i]);
    EXPECT_EQ(part.step(), 3);
    EXPECT_EQ(part.more(), i + 1 < messages.size());
    EXPECT_EQ(part.state_hash(), part.more() ? 0 : 44);
    EXPECT_LE(messages[i].Length(), 16 + 40);
    for (const v1::SlotLogits& logits : part.logits()) {
      if (logits.slot() == 0) {
        EXPECT_EQ(logits.position(), position);
        position += logits.num_rows();
      }
      ASSERT_EQ(logits.shards_size(), 1);
      joined += logits.shards(0);
    }
  }
  EXPECT_EQ(messages.size(), 3);
  EXPECT_EQ(joined, expected);
}

TEST(ResultMessages, ARankSendsNothingOfRowsThatItHasNot) {
  StepResult result;
  result.logits = {{0, 10, 1, {}}, Rows(1, 0, 3)};
  const auto messages = EncodeResult(std::move(result));
  ASSERT_EQ(messages.size(), 1);
  const v1::StepResult message = Parsed(messages[0]);
  ASSERT_EQ(message.logits_size(), 1);
  EXPECT_EQ(message.logits(0).slot(), 1);
}

TEST(ResultMessages, ShardsAreCutAtTheSameRowsWhateverTheirWidth) {
  for (const size_t num_columns : {1, 1000}) {
    StepResult result;
    result.logits = {{0, 7, 150, UnfilledVector<float>(150 * num_columns)}};
    std::vector<std::pair<uint32_t, uint32_t>> pieces;
    for (const auto& message : EncodeResult(std::move(result))) {
      const v1::StepResult part = Parsed(message);
      for (const v1::SlotLogits& logits : part.logits()) {
        pieces.emplace_back(logits.position(), logits.num_rows());
      }
    }
    EXPECT_EQ(pieces, (std::vector<std::pair<uint32_t, uint32_t>>{{7, 64}, {71, 64}, {135, 22}}));
  }
}

TEST(ResultMessages, TheLogitsLieInTheMessageAsInTheResult) {
  StepResult result;
  result.logits = {Rows(0, 0, 100)};
  const void* const memory = result.logits[0].logits.data();
  const auto messages = EncodeResult(std::move(result), {.max_rows = 100, .max_part_bytes = 1000});
  std::vector<grpc::Slice> slices;
  ASSERT_TRUE(messages[0].Dump(&slices).ok());
  const auto is_memory = [&](const grpc::Slice& slice) { return slice.begin() == memory; };
  EXPECT_TRUE(std::any_of(slices.begin(), slices.end(), is_memory));
}

TEST(ResultMessages, LogitsInTheFrontendsFileAreOnlyNamed) {
  const int fd = memfd_create("results", MFD_CLOEXEC);
  ASSERT_TRUE(ResultMemory::OfProcess().UseFile(fd));
  constexpr size_t kNumColumns = 10'000;
  StepResult result;
  result.logits = {{0, 7, 150, UnfilledVector<float>(150 * kNumColumns)}};
  result.logits[0].logits[64 * kNumColumns] = 0.5F;
  const auto messages = EncodeResult(std::move(result));
  ASSERT_EQ(messages.size(), 1);
  const v1::StepResult message = Parsed(messages[0]);
  ASSERT_EQ(message.logits_size(), 3);
  uint64_t offset = 0;
  for (const v1::SlotLogits& rows : message.logits()) {
    EXPECT_EQ(rows.shards_size(), 0);
    EXPECT_EQ(rows.shared().block_bytes(), 6 << 20);
    EXPECT_EQ(rows.shared().offset(), offset);
    EXPECT_EQ(rows.shared().num_bytes(), rows.num_rows() * kNumColumns * sizeof(float));
    offset += rows.shared().num_bytes();
  }
  float value = 0;
  const v1::SharedColumns& second = message.logits(1).shared();
  ASSERT_EQ(
      pread(fd, &value, sizeof(value), static_cast<off_t>(second.block_offset() + second.offset())),
      sizeof(value));
  EXPECT_EQ(value, 0.5F);
  // Nobody has read them, so the memory is not taken again.
  UnfilledVector<float> next(150 * kNumColumns);
  const auto place = ResultMemory::OfProcess().Lend(next.data(), 1);
  ASSERT_TRUE(place.has_value());
  EXPECT_NE(place->offset, second.block_offset());
}

}  // namespace
}  // namespace lockstep::worker
