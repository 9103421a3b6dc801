#include "worker/runtime/step_inputs.h"

#include <gtest/gtest.h>

#include <cstdint>

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
  const StepBatch first = inputs.Upload(inputs.HostBatch(sizes));
  (void)inputs.Upload(inputs.HostBatch(kLargest));
  const StepBatch again = inputs.Upload(inputs.HostBatch(sizes));
  EXPECT_EQ(again.token_ids.data_ptr(), first.token_ids.data_ptr());
  EXPECT_EQ(again.logit_rows.data_ptr(), first.logit_rows.data_ptr());
  EXPECT_EQ(again.attention.block_tables.data_ptr(), first.attention.block_tables.data_ptr());
}

TEST(StepInputsTest, TheLargestStepFits) {
  const CpuDevice device;
  const StepInputs inputs(device, kLargest, 7);
  EXPECT_EQ(inputs.HostBatch(kLargest).attention.block_tables.numel(), 70);
}

}  // namespace
}  // namespace lockstep::worker
