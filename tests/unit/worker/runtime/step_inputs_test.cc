#include "worker/runtime/step_inputs.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "tests/testing/ahead_device.h"
#include "worker/device/cpu_device.h"

namespace lockstep::worker {
namespace {

constexpr StepSizes kLargest = {.num_tokens = 100, .num_sequences = 10, .num_logit_rows = 100};

TEST(StepInputsTest, EveryTensorHasItsShapeAndAPlaceOfItsOwn) {
  const CpuDevice device;
  const StepInputs inputs(device, kLargest, /*max_blocks=*/7);
  StepBatch batch = inputs.HostBatch({.num_tokens = 13, .num_sequences = 3, .num_logit_rows = 5});
  EXPECT_EQ(batch.num_tokens, 13);
  EXPECT_EQ(batch.num_logit_rows, 5);
  EXPECT_EQ(batch.attention.block_tables.sizes(), (std::vector<int64_t>{3, 7}));
  std::vector<std::pair<at::Tensor*, int64_t>> tensors = {
      {&batch.token_ids, 13},
      {&batch.positions, 13},
      {&batch.cache_slots, 13},
      {&batch.logit_rows, 5},
      {&batch.attention.query_start_locations, 4},
      {&batch.attention.context_lengths, 3},
      {&batch.attention.block_tables, 21}};
  int64_t value = 0;
  for (auto& [tensor, size] : tensors) {
    ASSERT_EQ(tensor->numel(), size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor->data_ptr()) % 16, 0U);
    tensor->fill_(++value);
  }
  value = 0;
  for (const auto& [tensor, size] : tensors) {
    ++value;
    for (int64_t i = 0; i < size; ++i) {
      ASSERT_EQ(tensor->view({-1})[i].item<int64_t>(), value) << "tensor " << value;
    }
  }
  EXPECT_EQ(batch.cache_slots.scalar_type(), at::kLong);
  EXPECT_EQ(batch.logit_rows.scalar_type(), at::kLong);
  EXPECT_EQ(batch.token_ids.scalar_type(), at::kInt);
}

TEST(StepInputsTest, StepsOfEqualSizesHaveTheirInputsAtEqualAddresses) {
  const CpuDevice device;
  StepInputs inputs(device, kLargest, 7);
  const StepSizes sizes = {.num_tokens = 4, .num_sequences = 4, .num_logit_rows = 4};
  const StepBatch first = inputs.Upload(inputs.HostBatch(sizes), 7);
  (void)inputs.Upload(inputs.HostBatch(kLargest), 7);
  const StepBatch again = inputs.Upload(inputs.HostBatch(sizes), 7);
  EXPECT_EQ(again.token_ids.data_ptr(), first.token_ids.data_ptr());
  EXPECT_EQ(again.logit_rows.data_ptr(), first.logit_rows.data_ptr());
  EXPECT_EQ(again.attention.block_tables.data_ptr(), first.attention.block_tables.data_ptr());
}

// Counts what it copies by columns.
class CountingDevice : public testing::AheadDevice {
 public:
  CountingDevice() : AheadDevice(counts_) {}
  void CopyColumns(const at::Tensor& from, int64_t num_columns, at::Tensor& to) const override {
    copies_.emplace_back(from.size(0), num_columns);
    AheadDevice::CopyColumns(from, num_columns, to);
  }
  const std::vector<std::pair<int64_t, int64_t>>& copies() const { return copies_; }

 private:
  testing::GraphCounts counts_;
  mutable std::vector<std::pair<int64_t, int64_t>> copies_;
};

TEST(StepInputsTest, OfLongBlockTablesOnlyWhatIsUsedIsCopied) {
  constexpr int64_t kMaxBlocks = 8192;
  const CountingDevice device;
  StepInputs inputs(device, kLargest, kMaxBlocks);
  const StepSizes sizes = {.num_tokens = 4, .num_sequences = 4, .num_logit_rows = 4};
  for (const auto& [value, num_blocks] :
       std::vector<std::pair<int32_t, int64_t>>{{1, kMaxBlocks}, {2, 5}}) {
    StepBatch batch = inputs.HostBatch(sizes);
    batch.token_ids.fill_(value);
    batch.attention.context_lengths.fill_(value);
    batch.attention.block_tables.fill_(value);
    const StepBatch there = inputs.Upload(batch, num_blocks);
    EXPECT_NE(there.token_ids.data_ptr(), batch.token_ids.data_ptr());
    EXPECT_TRUE(there.token_ids.eq(value).all().item<bool>());
    EXPECT_TRUE(there.attention.context_lengths.eq(value).all().item<bool>());
    const at::Tensor& tables = there.attention.block_tables;
    EXPECT_EQ(tables.sizes(), (std::vector<int64_t>{4, kMaxBlocks}));
    EXPECT_TRUE(tables.narrow(1, 0, num_blocks).eq(value).all().item<bool>());
    EXPECT_TRUE(tables.narrow(1, num_blocks, kMaxBlocks - num_blocks).eq(1).all().item<bool>());
  }
  EXPECT_EQ(device.copies(), (std::vector<std::pair<int64_t, int64_t>>{{4, 5}}));
}

TEST(StepInputsTest, ShortBlockTablesTravelWithTheRest) {
  const CountingDevice device;
  StepInputs inputs(device, kLargest, /*max_blocks=*/7);
  StepBatch batch = inputs.HostBatch({.num_tokens = 3, .num_sequences = 3, .num_logit_rows = 3});
  batch.attention.block_tables.fill_(6);
  const StepBatch there = inputs.Upload(batch, 2);
  EXPECT_TRUE(there.attention.block_tables.narrow(1, 0, 2).eq(6).all().item<bool>());
  EXPECT_TRUE(device.copies().empty());
}

TEST(StepInputsTest, TheLargestStepFits) {
  const CpuDevice device;
  const StepInputs inputs(device, kLargest, 7);
  EXPECT_EQ(inputs.HostBatch(kLargest).attention.block_tables.numel(), 70);
}

}  // namespace
}  // namespace lockstep::worker
