#include "worker/runtime/logits_reader.h"

#include <algorithm>
#include <span>
#include <utility>

namespace lockstep::worker {
LogitsReader::LogitsReader(ThreadPool& pool, int64_t vocab_size)
    : pool_(pool), vocab_size_(vocab_size), samplers_(static_cast<size_t>(pool.num_threads())) {}

void LogitsReader::Prepare(const BuiltBatch& built, StepResult& result) {
  for (const LogitSpan& span : built.logit_spans) {
    if (span.use == LogitSpan::Use::kReport) continue;
    const bool is_sampled = span.use == LogitSpan::Use::kSample;
    std::vector<SampledToken>& tokens = is_sampled ? result.sampled : result.prompt_tokens;
    for (uint32_t row = 0; row < span.num_rows; ++row) {
      SampledToken& token = tokens.emplace_back();
      token.slot = span.slot;
      token.position = span.position + row + 1;
    }
  }
}

void LogitsReader::Read(const std::vector<LogitSpan>& spans, const SlotTable& slots,
                        const SlotMasks& masks, const at::Tensor& logits, int64_t first_row,
                        StepResult& result) {
  const auto* data = logits.const_data_ptr<float>();
  const int64_t end_row = first_row + logits.size(0);
  std::vector<TokenRow> rows;
  int64_t span_begin = 0;
  for (const LogitSpan& span : spans) {
    const int64_t begin = std::max(span_begin, first_row);
    const int64_t end = std::min(span_begin + span.num_rows, end_row);
    const int64_t skipped = begin - span_begin;  // rows of the span that came before
    span_begin += span.num_rows;
    if (begin >= end) continue;
    const float* first = data + (begin - first_row) * vocab_size_;
    if (span.use == LogitSpan::Use::kReport) {
      UnfilledVector<float>& reported = result.logits[span.output].logits;
      reported.resize(static_cast<size_t>(span.num_rows * vocab_size_));
      std::copy_n(first, (end - begin) * vocab_size_, reported.data() + skipped * vocab_size_);
      continue;
    }
    const bool is_sampled = span.use == LogitSpan::Use::kSample;
    SampledToken* tokens = (is_sampled ? result.sampled : result.prompt_tokens).data() +
                           span.output + static_cast<size_t>(skipped);
    for (int64_t row = 0; row < end - begin; ++row) {
      rows.push_back({.use = span.use,
                      .logits = first + row * vocab_size_,
                      .token = tokens + row,
                      .mask = is_sampled ? masks.Of(span.slot) : std::span<const uint32_t>()});
    }
  }
  pool_.ParallelFor(static_cast<int64_t>(rows.size()), [&](int thread, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      ReadToken(rows[static_cast<size_t>(i)], slots, samplers_[static_cast<size_t>(thread)]);
    }
  });
}

void LogitsReader::ReadToken(const TokenRow& row, const SlotTable& slots, Sampler& sampler) const {
  const std::span<const float> logits(row.logits, static_cast<size_t>(vocab_size_));
  SampledToken& token = *row.token;
  const Slot& slot = slots.slot(token.slot);
  if (row.use == LogitSpan::Use::kSample) {
    FillIn(sampler.Sample(logits, slot.sampling, token.position, slot.token_ids, row.mask), token);
  } else {
    FillIn(sampler.Report(logits, slot.token_ids[token.position],
                          slot.num_prompt_logprobs.value_or(0)),
           token);
  }
}

void LogitsReader::FillIn(SampledChoice choice, SampledToken& token) {
  token.token_id = choice.token_id;
  token.is_broken = choice.is_broken;
  token.logprob = choice.report.logprob;
  token.rank = choice.report.rank;
  token.top = std::move(choice.report.top);
}

}  // namespace lockstep::worker
