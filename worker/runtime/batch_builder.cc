#include "worker/runtime/batch_builder.h"

#include <algorithm>

namespace lockstep::worker {
namespace {

// Rows of padding write nothing to the cache (RopeAndCacheWrite) and read one token of this block,
// whosever it is.
constexpr int64_t kNoCacheSlot = -1;
constexpr int32_t kPaddingBlock = 0;

int32_t PendingTokenOf(uint32_t slot) { return -1 - static_cast<int32_t>(slot); }

// Fills the batch's host tensors row by row.
class BatchWriter {
 public:
  BatchWriter(const SlotTable& slots, const std::vector<Run>& runs, int64_t block_size,
              int64_t num_padding_rows)
      : slots_(slots), runs_(runs), block_size_(block_size), num_padding_rows_(num_padding_rows) {}

  BuiltBatch Build(const StepInputs& inputs) {
    const int64_t num_run_tokens = ChooseLogits();
    const auto num_logit_rows = static_cast<int64_t>(logit_rows_.size());
    batch_ =
        inputs.HostBatch({.num_tokens = num_run_tokens + num_padding_rows_,
                          .num_sequences = static_cast<int64_t>(runs_.size()) + num_padding_rows_,
                          .num_logit_rows = num_logit_rows + num_padding_rows_});
    WriteRuns();
    WritePadding(num_run_tokens);
    std::copy(logit_rows_.begin(), logit_rows_.end(), batch_.logit_rows.data_ptr<int64_t>());
    return {.batch = batch_,
            .logit_spans = logit_spans_,
            .num_logit_rows = num_logit_rows,
            .has_pending_tokens = has_pending_tokens_};
  }

  // Of the built batch's longest block table.
  int64_t max_num_blocks() const { return max_num_blocks_; }

 private:
  int64_t NumBlocks(const Run& run) const {
    return (run.position + run.num_tokens + block_size_ - 1) / block_size_;
  }

  // The number of the runs' tokens.
  int64_t ChooseLogits() {
    int64_t row = 0;
    for (const Run& run : runs_) {
      WantLogits(run, row);
      row += run.num_tokens;
    }
    return row;
  }

  void WriteRuns() {
    auto* starts = batch_.attention.query_start_locations.data_ptr<int32_t>();
    starts[0] = 0;
    int64_t row = 0;
    for (size_t index = 0; index < runs_.size(); ++index) {
      WriteRows(runs_[index], row);
      WriteSequence(index);
      if (runs_[index].is_decode) ++batch_.attention.num_decode_sequences;
      row += runs_[index].num_tokens;
      starts[index + 1] = static_cast<int32_t>(row);
    }
  }

  void WritePadding(int64_t first_row) {
    if (num_padding_rows_ == 0) return;
    AttentionBatch& attention = batch_.attention;
    const int64_t table_stride = attention.block_tables.size(1);
    // As many sequences as rows: all are decodes.
    for (int64_t row = first_row; row < batch_.num_tokens; ++row) {
      batch_.token_ids.data_ptr<int32_t>()[row] = 0;
      batch_.positions.data_ptr<int32_t>()[row] = 0;
      batch_.cache_slots.data_ptr<int64_t>()[row] = kNoCacheSlot;
      attention.query_start_locations.data_ptr<int32_t>()[row + 1] = static_cast<int32_t>(row + 1);
      attention.context_lengths.data_ptr<int32_t>()[row] = 1;
      attention.block_tables.data_ptr<int32_t>()[row * table_stride] = kPaddingBlock;
      logit_rows_.push_back(row);
    }
    batch_.rope_spans.push_back({.num_rows = num_padding_rows_, .sequence_length = 1});
    attention.num_decode_sequences += num_padding_rows_;
  }

  void WriteRows(const Run& run, int64_t row) {
    const Slot& slot = slots_.slot(run.slot);
    auto* token_ids = batch_.token_ids.data_ptr<int32_t>() + row;
    auto* positions = batch_.positions.data_ptr<int32_t>() + row;
    auto* cache_slots = batch_.cache_slots.data_ptr<int64_t>() + row;
    for (int64_t i = 0; i < run.num_tokens; ++i) {
      const int64_t position = run.position + i;
      const uint32_t token = slot.token_ids[static_cast<size_t>(position)];
      const bool is_pending = token == kPendingToken;
      token_ids[i] = is_pending ? PendingTokenOf(run.slot) : static_cast<int32_t>(token);
      has_pending_tokens_ |= is_pending;
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
    max_num_blocks_ = std::max(max_num_blocks_, NumBlocks(run));
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
  const int64_t num_padding_rows_;
  StepBatch batch_;
  std::vector<int64_t> logit_rows_;
  std::vector<LogitSpan> logit_spans_;
  size_t num_sampled_ = 0;
  size_t num_reported_ = 0;
  size_t num_prompt_rows_ = 0;
  bool has_pending_tokens_ = false;
  int64_t max_num_blocks_ = 1;  // of padding
};

}  // namespace

BuiltBatch BuildBatch(const SlotTable& slots, const std::vector<Run>& runs, int64_t block_size,
                      int64_t num_padding_rows, StepInputs& inputs) {
  BatchWriter writer(slots, runs, block_size, num_padding_rows);
  BuiltBatch built = writer.Build(inputs);
  built.batch = inputs.Upload(built.batch, writer.max_num_blocks());
  return built;
}

}  // namespace lockstep::worker
