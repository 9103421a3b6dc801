#include "worker/runtime/batch_builder.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace lockstep::worker {
namespace {

// Fills the batch's host tensors row by row.
class BatchWriter {
 public:
  BatchWriter(const SlotTable& slots, const std::vector<Run>& runs, int64_t block_size)
      : slots_(slots), runs_(runs), block_size_(block_size) {
    const auto num_sequences = static_cast<int64_t>(runs.size());
    int64_t max_blocks = 1;
    for (const Run& run : runs) {
      batch_.num_tokens += run.num_tokens;
      batch_.num_decode_rows += run.is_decode ? 1 : 0;
      max_blocks = std::max(max_blocks, NumBlocks(run));
    }
    const auto int32s = at::TensorOptions().dtype(at::kInt);
    batch_.token_ids = at::empty({batch_.num_tokens}, int32s);
    batch_.positions = at::empty({batch_.num_tokens}, int32s);
    batch_.cache_slots = at::empty({batch_.num_tokens}, int32s.dtype(at::kLong));
    batch_.attention.query_start_locations = at::empty({num_sequences + 1}, int32s);
    batch_.attention.context_lengths = at::empty({num_sequences}, int32s);
    batch_.attention.block_tables = at::zeros({num_sequences, max_blocks}, int32s);
  }

  BuiltBatch Build() {
    auto* starts = batch_.attention.query_start_locations.data_ptr<int32_t>();
    starts[0] = 0;
    int64_t row = 0;
    for (size_t index = 0; index < runs_.size(); ++index) {
      WriteRows(runs_[index], row);
      WriteSequence(index);
      WantLogits(runs_[index], row);
      row += runs_[index].num_tokens;
      starts[index + 1] = static_cast<int32_t>(row);
    }
    batch_.attention.num_decode_sequences = batch_.num_decode_rows;
    batch_.num_logit_rows = static_cast<int64_t>(logit_rows_.size());
    batch_.logit_rows = at::empty({batch_.num_logit_rows}, at::TensorOptions().dtype(at::kLong));
    std::copy(logit_rows_.begin(), logit_rows_.end(), batch_.logit_rows.data_ptr<int64_t>());
    return {.batch = batch_, .logit_spans = logit_spans_};
  }

 private:
  int64_t NumBlocks(const Run& run) const {
    return (run.position + run.num_tokens + block_size_ - 1) / block_size_;
  }

  void WriteRows(const Run& run, int64_t row) {
    const Slot& slot = slots_.slot(run.slot);
    auto* token_ids = batch_.token_ids.data_ptr<int32_t>() + row;
    auto* positions = batch_.positions.data_ptr<int32_t>() + row;
    auto* cache_slots = batch_.cache_slots.data_ptr<int64_t>() + row;
    for (int64_t i = 0; i < run.num_tokens; ++i) {
      const int64_t position = run.position + i;
      token_ids[i] = static_cast<int32_t>(slot.token_ids[static_cast<size_t>(position)]);
      positions[i] = static_cast<int32_t>(position);
      cache_slots[i] = slot.blocks[static_cast<size_t>(position / block_size_)] * block_size_ +
                       position % block_size_;
      AddRopeRow(slot, position);
    }
  }

  // See RotaryEmbedding for which length a token's frequencies belong to.
  void AddRopeRow(const Slot& slot, int64_t position) {
    const int64_t length = std::max<int64_t>(slot.num_prompt_tokens, position + 1);
    std::vector<RopeSpan>& spans = batch_.rope_spans;
    if (spans.empty() || spans.back().sequence_length != length) {
      spans.push_back({.num_rows = 0, .sequence_length = length});
    }
    ++spans.back().num_rows;
  }

  void WriteSequence(size_t index) {
    const Run& run = runs_[index];
    batch_.attention.context_lengths.data_ptr<int32_t>()[index] =
        static_cast<int32_t>(run.position + run.num_tokens);
    at::Tensor& tables = batch_.attention.block_tables;
    const std::vector<int32_t>& blocks = slots_.slot(run.slot).blocks;
    std::copy_n(blocks.begin(), NumBlocks(run),
                tables.data_ptr<int32_t>() + static_cast<int64_t>(index) * tables.size(1));
  }

  void WantLogits(const Run& run, int64_t row) {
    using Use = LogitSpan::Use;
    const Slot& slot = slots_.slot(run.slot);
    const int64_t end = run.num_tokens;
    if (slot.num_prompt_logprobs.has_value()) {
      // The rows before a prompt token; the last token of the prompt has none after it.
      const int64_t last_row = int64_t{slot.num_prompt_tokens} - 1;
      const int64_t num_rows = std::clamp<int64_t>(last_row - run.position, 0, end);
      num_prompt_rows_ += AddSpan(run, row, 0, num_rows, Use::kPromptTokens, num_prompt_rows_);
    }
    if (slot.logits == LogitsRequest::kAll) {
      AddSpan(run, row, 0, end, Use::kReport, num_reported_++);
    } else if (run.reaches_end) {
      if (run.is_decode) ++batch_.num_decode_logit_rows;
      const bool is_sampled = slot.logits == LogitsRequest::kNone;
      AddSpan(run, row, end - 1, 1, is_sampled ? Use::kSample : Use::kReport,
              is_sampled ? num_sampled_++ : num_reported_++);
    }
  }

  // Rows [first, first + num_rows) of the run, which begins at the batch's `row`. The number of
  // rows.
  size_t AddSpan(const Run& run, int64_t row, int64_t first, int64_t num_rows, LogitSpan::Use use,
                 size_t output) {
    if (num_rows == 0) return 0;
    for (int64_t i = first; i < first + num_rows; ++i) logit_rows_.push_back(row + i);
    logit_spans_.push_back({.slot = run.slot,
                            .num_rows = num_rows,
                            .position = run.position + static_cast<uint32_t>(first),
                            .use = use,
                            .output = output});
    return static_cast<size_t>(num_rows);
  }

  const SlotTable& slots_;
  const std::vector<Run>& runs_;
  const int64_t block_size_;
  StepBatch batch_;
  std::vector<int64_t> logit_rows_;
  std::vector<LogitSpan> logit_spans_;
  size_t num_sampled_ = 0;
  size_t num_reported_ = 0;
  size_t num_prompt_rows_ = 0;
};

}  // namespace

BuiltBatch BuildBatch(const SlotTable& slots, const std::vector<Run>& runs, int64_t block_size,
                      at::Device device) {
  BuiltBatch built = BatchWriter(slots, runs, block_size).Build();
  if (device.type() == at::kCPU) return built;
  StepBatch& batch = built.batch;
  for (at::Tensor* tensor : {&batch.token_ids, &batch.positions, &batch.cache_slots,
                             &batch.logit_rows, &batch.attention.query_start_locations,
                             &batch.attention.context_lengths, &batch.attention.block_tables}) {
    *tensor = tensor->to(device);
  }
  return built;
}

}  // namespace lockstep::worker
