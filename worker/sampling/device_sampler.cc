#include "worker/sampling/device_sampler.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "worker/sampling/cuda/ops.h"
#include "worker/sampling/logits_processors.h"
#include "worker/sampling/packed_rows.h"

namespace lockstep::worker {
namespace {

constexpr char kOp[] = "DeviceSampler";

template <typename T>
int64_t NumBytes(int64_t size) {
  return size * static_cast<int64_t>(sizeof(T));
}

// TopLogits follow RowResults, words follow SampledRows.
static_assert(sizeof(cuda::RowResult) % alignof(cuda::TopLogit) == 0);
static_assert(sizeof(cuda::SampledRow) % alignof(uint32_t) == 0);

TokenReport MakeReport(const cuda::RowResult& result, std::span<cuda::TopLogit> top) {
  const double log_normalizer = result.model_maximum + std::log(result.model_sum);
  const auto logprob = [&](float logit) { return static_cast<float>(logit - log_normalizer); };
  TokenReport report = {.logprob = logprob(result.logit), .rank = result.rank, .top = {}};
  // They come by token id.
  std::stable_sort(top.begin(), top.end(), [](const cuda::TopLogit& a, const cuda::TopLogit& b) {
    return a.logit > b.logit;
  });
  report.top.reserve(top.size());
  for (const cuda::TopLogit& entry : top) {
    report.top.push_back({.token_id = entry.token_id, .logprob = logprob(entry.logit)});
  }
  return report;
}

}  // namespace

DeviceSampler::DeviceSampler(const ComputeDevice& device, const Limits& limits)
    : device_(device.device()), limits_(limits) {
  TORCH_CHECK(limits.vocab_size > 0 && limits.vocab_size <= cuda::kMaxSampledVocab, kOp,
              ": the vocabulary has ", limits.vocab_size, " tokens; the GPU's sampler takes 1 to ",
              cuda::kMaxSampledVocab);
  scratch_ = cuda::AllocateSamplerScratch(limits.max_rows, limits.vocab_size, device_);
  for (int i = 0; i < limits.max_batches; ++i) {
    Batch& batch = batches_.emplace_back(device);
    batch.inputs.Reserve(NumBytes<cuda::SampledRow>(limits.max_rows) +
                         NumBytes<uint32_t>(limits.vocab_size));
    batch.results.Reserve(NumBytes<cuda::RowResult>(limits.max_rows));
  }
}

void DeviceSampler::CheckEnqueue(std::span<const Row> rows, const at::Tensor& logits,
                                 const at::Tensor& last_tokens, const at::Tensor& token_ids) const {
  const auto num_rows = static_cast<int64_t>(rows.size());
  TORCH_CHECK(num_rows <= limits_.max_rows, kOp, ": ", num_rows, " rows; the limit is ",
              limits_.max_rows);
  TORCH_CHECK(!batches_[static_cast<size_t>(next_ticket_)].is_pending, kOp, ": all ",
              limits_.max_batches, " batches are under way; collect the first");
  TORCH_CHECK(logits.device() == device_ && logits.scalar_type() == at::kFloat &&
                  logits.is_contiguous() && logits.dim() == 2 && logits.size(0) == num_rows &&
                  logits.size(1) == limits_.vocab_size,
              kOp, ": logits of shape ", logits.sizes(), " for ", num_rows, " rows of ",
              limits_.vocab_size, " tokens");
  TORCH_CHECK(last_tokens.device() == device_ && last_tokens.scalar_type() == at::kInt &&
                  last_tokens.is_contiguous(),
              kOp, ": last_tokens are not int32 on the device");
  TORCH_CHECK(token_ids.device() == device_ && token_ids.scalar_type() == at::kLong &&
                  token_ids.is_contiguous() && token_ids.numel() == num_rows,
              kOp, ": token_ids are not ", num_rows, " int64 on the device");
  for (const Row& row : rows) {
    if (row.known.has_value()) {
      TORCH_CHECK(row.known->token_id < limits_.vocab_size, kOp, ": token ", row.known->token_id,
                  " is not in the vocabulary");
      continue;
    }
    TORCH_CHECK(row.pending_slot < last_tokens.numel(), kOp, ": slot ", row.pending_slot, " of ",
                last_tokens.numel());
    TORCH_CHECK(
        row.mask.empty() || static_cast<int64_t>(row.mask.size()) == (limits_.vocab_size + 31) / 32,
        kOp, ": a mask of ", row.mask.size(), " words");
    TORCH_CHECK(!HasPenalties(*row.parameters) ||
                    row.history.size() + (row.pending_slot >= 0 ? 1 : 0) == row.position,
                kOp, ": a history of ", row.history.size(), " tokens at position ", row.position);
  }
}

int DeviceSampler::Enqueue(std::span<const Row> rows, const at::Tensor& logits,
                           const at::Tensor& last_tokens, at::Tensor& token_ids) {
  CheckEnqueue(rows, logits, last_tokens, token_ids);
  const int ticket = next_ticket_;
  next_ticket_ = (next_ticket_ + 1) % limits_.max_batches;
  Batch& batch = batches_[static_cast<size_t>(ticket)];
  batch.is_pending = true;
  batch.num_top.clear();
  if (rows.empty()) return ticket;

  const auto num_rows = static_cast<int64_t>(rows.size());
  const int64_t words_begin = NumBytes<cuda::SampledRow>(num_rows);
  const int64_t input_bytes =
      words_begin + NumBytes<uint32_t>(NumPackedWords(rows, limits_.vocab_size));
  batch.inputs.Reserve(input_bytes);
  auto* packed = batch.inputs.OnHost<cuda::SampledRow>();
  PackRows(rows, limits_.vocab_size, packed, batch.inputs.OnHost<uint32_t>(words_begin));
  batch.inputs.CopyToDevice(input_bytes);

  int64_t num_top = 0;
  for (int64_t i = 0; i < num_rows; ++i) {
    batch.num_top.push_back(packed[i].num_top);
    num_top += std::max(packed[i].num_top, 0);
  }
  const int64_t top_begin = NumBytes<cuda::RowResult>(num_rows);
  const int64_t result_bytes = top_begin + NumBytes<cuda::TopLogit>(num_top);
  batch.results.Reserve(result_bytes);
  cuda::SampleRows({.logits = logits.const_data_ptr<float>(),
                    .last_tokens = last_tokens.const_data_ptr<int32_t>(),
                    .rows = batch.inputs.OnDevice<cuda::SampledRow>(),
                    .words = batch.inputs.OnDevice<uint32_t>(words_begin),
                    .token_ids = token_ids.mutable_data_ptr<int64_t>(),
                    .results = batch.results.OnDevice<cuda::RowResult>(),
                    .top = batch.results.OnDevice<cuda::TopLogit>(top_begin),
                    .scratch = scratch_.mutable_data_ptr<float>(),
                    .num_rows = static_cast<int>(num_rows),
                    .vocab_size = static_cast<int>(limits_.vocab_size)},
                   device_);
  batch.results.CopyToHost(result_bytes);
  return ticket;
}

std::vector<SampledChoice> DeviceSampler::Collect(int ticket) {
  Batch& batch = batches_[static_cast<size_t>(ticket)];
  TORCH_CHECK(batch.is_pending, kOp, ": no batch with ticket ", ticket, " is under way");
  batch.is_pending = false;
  const size_t num_rows = batch.num_top.size();
  const auto* results = batch.results.OnHost<cuda::RowResult>();
  auto* top = batch.results.OnHost<cuda::TopLogit>(
      NumBytes<cuda::RowResult>(static_cast<int64_t>(num_rows)));
  std::vector<SampledChoice> choices(num_rows);
  for (size_t i = 0; i < num_rows; ++i) {
    choices[i].token_id = static_cast<uint32_t>(results[i].token_id);
    choices[i].is_broken = !results[i].is_valid;
    if (batch.num_top[i] < 0) continue;
    const auto num_top = static_cast<size_t>(batch.num_top[i]);
    if (!choices[i].is_broken) choices[i].report = MakeReport(results[i], {top, num_top});
    top += num_top;
  }
  return choices;
}

}  // namespace lockstep::worker
