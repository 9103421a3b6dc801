#include "worker/runtime/batch_builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "worker/device/cpu_device.h"

namespace lockstep::worker {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kBlockSize = 8;
constexpr SlotTable::Limits kLimits = {.max_num_seqs = 8,
                                       .max_num_batched_tokens = 40,
                                       .max_model_len = 32,
                                       .block_size = kBlockSize,
                                       .num_kv_blocks = 20,
                                       .vocab_size = 100};

template <typename T>
std::vector<T> Values(const at::Tensor& tensor) {
  const T* data = tensor.const_data_ptr<T>();
  return {data, data + tensor.numel()};
}

std::vector<int32_t> FirstColumn(const at::Tensor& tables) {
  std::vector<int32_t> result;
  for (int64_t row = 0; row < tables.size(0); ++row) {
    result.push_back(tables.const_data_ptr<int32_t>()[row * tables.size(1)]);
  }
  return result;
}

// Slots 0 and 1 with prompts of 9 and 3 tokens, each with a sampled token that has not run.
class BatchBuilderTest : public ::testing::Test {
 protected:
  BatchBuilderTest() {
    StepPlan plan;
    plan.step = 1;
    Admit(plan, 0, 9, {5, 6});
    Admit(plan, 1, 3, {7});
    const auto runs = slots_.Apply(plan);
    EXPECT_TRUE(runs.ok()) << runs.status();
    prefills_ = *runs;
    slots_.Append(0, 41);
    slots_.Append(1, 42);
    StepPlan next;
    next.step = 2;
    next.scheduled = {{.slot = 0, .position = 9, .num_tokens = 1, .new_blocks = {}},
                      {.slot = 1, .position = 3, .num_tokens = 1, .new_blocks = {}}};
    const auto decodes = slots_.Apply(next);
    EXPECT_TRUE(decodes.ok()) << decodes.status();
    decodes_ = *decodes;
  }

  static void Admit(StepPlan& plan, uint32_t slot, uint32_t num_tokens,
                    std::vector<uint32_t> blocks) {
    AdmittedSlot& admitted = plan.admitted.emplace_back();
    admitted.slot = slot;
    admitted.token_ids.assign(num_tokens, 10 + slot);
    admitted.sampling.num_prompt_tokens = num_tokens;
    plan.scheduled.push_back(
        {.slot = slot, .position = 0, .num_tokens = num_tokens, .new_blocks = std::move(blocks)});
  }

  const CpuDevice device_;
  StepInputs inputs_{
      device_, {.num_tokens = 40, .num_sequences = 8, .num_logit_rows = 40}, /*max_blocks=*/4};
  SlotTable slots_{kLimits};
  std::vector<worker::Run> prefills_;
  std::vector<worker::Run> decodes_;
};

TEST_F(BatchBuilderTest, PrefillsAreLaidOutSequenceBySequence) {
  const BuiltBatch built = BuildBatch(slots_, prefills_, kBlockSize, 0, inputs_);
  const StepBatch& batch = built.batch;
  EXPECT_EQ(batch.num_tokens, 12);
  EXPECT_EQ(batch.attention.num_decode_sequences, 0);
  EXPECT_THAT(Values<int32_t>(batch.positions), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2));
  EXPECT_THAT(Values<int64_t>(batch.cache_slots),
              ElementsAre(40, 41, 42, 43, 44, 45, 46, 47, 48, 56, 57, 58));
  EXPECT_THAT(Values<int32_t>(batch.attention.query_start_locations), ElementsAre(0, 9, 12));
  EXPECT_THAT(Values<int32_t>(batch.attention.context_lengths), ElementsAre(9, 3));
  EXPECT_EQ(batch.attention.block_tables[0][1].item<int32_t>(), 6);
  EXPECT_EQ(batch.num_logit_rows, built.num_logit_rows);
}

TEST_F(BatchBuilderTest, PaddingWritesNothingAndChangesNoRowOfTheRuns) {
  const BuiltBatch plain = BuildBatch(slots_, decodes_, kBlockSize, 0, inputs_);
  const std::vector<int32_t> tokens = Values<int32_t>(plain.batch.token_ids);
  const std::vector<int64_t> cache_slots = Values<int64_t>(plain.batch.cache_slots);
  const BuiltBatch built = BuildBatch(slots_, decodes_, kBlockSize, 2, inputs_);
  const StepBatch& batch = built.batch;
  EXPECT_EQ(batch.num_tokens, 4);
  EXPECT_EQ(batch.attention.num_decode_sequences, 4);
  EXPECT_THAT(Values<int32_t>(batch.token_ids), ElementsAre(tokens[0], tokens[1], 0, 0));
  EXPECT_THAT(Values<int64_t>(batch.cache_slots),
              ElementsAre(cache_slots[0], cache_slots[1], -1, -1));
  EXPECT_THAT(Values<int32_t>(batch.attention.query_start_locations), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(Values<int32_t>(batch.attention.context_lengths), ElementsAre(10, 4, 1, 1));
  EXPECT_THAT(FirstColumn(batch.attention.block_tables), ElementsAre(5, 7, 0, 0));
  EXPECT_EQ(batch.num_logit_rows, 4);
  EXPECT_THAT(Values<int64_t>(batch.logit_rows), ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(built.num_logit_rows, 2);
  EXPECT_EQ(built.logit_spans.size(), 2U);
}

TEST_F(BatchBuilderTest, ABatchMayBePaddingAlone) {
  const BuiltBatch built = BuildBatch(slots_, {}, kBlockSize, 3, inputs_);
  EXPECT_EQ(built.batch.num_tokens, 3);
  EXPECT_EQ(built.num_logit_rows, 0);
  EXPECT_THAT(Values<int64_t>(built.batch.cache_slots), ElementsAre(-1, -1, -1));
  int64_t num_rope_rows = 0;
  for (const RopeSpan& span : built.batch.rope_spans) num_rope_rows += span.num_rows;
  EXPECT_EQ(num_rope_rows, 3);
}

}  // namespace
}  // namespace lockstep::worker
