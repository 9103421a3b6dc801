#include "worker/runtime/logits_reader.h"

#include <algorithm>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"

namespace lockstep::worker {

LogitsReader::LogitsReader(ThreadPool& pool, int64_t vocab_size)
    : pool_(pool), vocab_size_(vocab_size), samplers_(static_cast<size_t>(pool.num_threads())) {}

void LogitsReader::Prepare(const BuiltBatch& built, int64_t vocab_size, StepResult& result) {
  for (const LogitSpan& span : built.logit_spans) {
    if (span.is_sampled) {
      SampledToken& token = result.sampled.emplace_back();
      token.slot = span.slot;
      token.position = span.position + 1;
      continue;
    }
    SlotLogits& rows = result.logits.emplace_back();
    rows.slot = span.slot;
    rows.position = span.position;
    rows.num_rows = static_cast<uint32_t>(span.num_rows);
    rows.logits.reserve(static_cast<size_t>(span.num_rows * vocab_size) * sizeof(float));
  }
}

absl::Status LogitsReader::Read(const BuiltBatch& built, const SlotTable& slots,
                                const at::Tensor& logits, int64_t first_row, StepResult& result) {
  const auto* data = logits.const_data_ptr<float>();
  const int64_t end_row = first_row + logits.size(0);
  std::vector<SampledRow> sampled;
  int64_t span_begin = 0;
  for (const LogitSpan& span : built.logit_spans) {
    const int64_t begin = std::max(span_begin, first_row);
    const int64_t end = std::min(span_begin + span.num_rows, end_row);
    span_begin += span.num_rows;
    if (begin >= end) continue;
    const float* rows = data + (begin - first_row) * vocab_size_;
    if (span.is_sampled) {
      sampled.push_back({.span = &span, .logits = rows, .status = absl::OkStatus()});
    } else {
      result.logits[span.output].logits.append(
          reinterpret_cast<const char*>(rows),
          static_cast<size_t>((end - begin) * vocab_size_) * sizeof(float));
    }
  }
  pool_.ParallelFor(static_cast<int64_t>(sampled.size()),
                    [&](int thread, int64_t begin, int64_t end) {
                      for (int64_t i = begin; i < end; ++i) {
                        Sample(sampled[static_cast<size_t>(i)], slots,
                               samplers_[static_cast<size_t>(thread)], result);
                      }
                    });
  for (const SampledRow& row : sampled) {
    if (!row.status.ok()) return row.status;
  }
  return absl::OkStatus();
}

void LogitsReader::Sample(SampledRow& row, const SlotTable& slots, Sampler& sampler,
                          StepResult& result) const {
  SampledToken& token = result.sampled[row.span->output];
  absl::StatusOr<SampledChoice> choice =
      sampler.Sample({row.logits, static_cast<size_t>(vocab_size_)},
                     slots.slot(token.slot).sampling, token.position);
  if (!choice.ok()) {
    row.status = absl::Status(choice.status().code(),
                              absl::StrCat("slot ", token.slot, ": ", choice.status().message()));
    return;
  }
  token.token_id = choice->token_id;
  token.logprob = choice->logprob;
  token.rank = choice->rank;
  token.top = std::move(choice->top);
}

}  // namespace lockstep::worker
