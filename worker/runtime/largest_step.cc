#include "worker/runtime/largest_step.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <numeric>
#include <span>
#include <vector>

#include "worker/comm/communicator.h"
#include "worker/comm/nccl_sum.h"

namespace lockstep::worker {
namespace {

// Ranks that are not there: nothing is exchanged, and the memory that an exchange takes is.
class AbsentPeers : public Communicator {
 public:
  AbsentPeers(int rank, int world_size, ComputeDevice& device, absl::Duration timeout)
      : Communicator(device, timeout), rank_(rank), world_size_(world_size) {}

  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }
  absl::Status AllReduceSum(at::Tensor& data) override {
    (void)at::empty({SumScratch(data, world_size_)}, data.options());
    return absl::OkStatus();
  }
  absl::Status AllGather(const at::Tensor& in, at::Tensor& out) override {
    return absl::OkStatus();
  }
  absl::Status GatherColumns(const at::Tensor& shard, std::span<const int64_t> column_offsets,
                             at::Tensor& out) override {
    (void)at::empty({shard.size(0), column_offsets.back()}, shard.options());
    return absl::OkStatus();
  }
  absl::Status Broadcast(at::Tensor& data) override { return absl::OkStatus(); }
  absl::Status Barrier() override { return absl::OkStatus(); }
  absl::Status Check() override { return absl::OkStatus(); }
  void Abort() override {}

 private:
  const int rank_;
  const int world_size_;
};

StepBatch MakeBatch(const std::vector<int64_t>& rows, StepInputs& inputs) {
  const int64_t num_tokens = std::accumulate(rows.begin(), rows.end(), int64_t{0});
  // All rows but one: more take memory of their own than when all go on.
  const int64_t num_logit_rows = std::max<int64_t>(1, num_tokens - 1);
  StepBatch batch = inputs.HostBatch({.num_tokens = num_tokens,
                                      .num_sequences = static_cast<int64_t>(rows.size()),
                                      .num_logit_rows = num_logit_rows});
  batch.attention.num_decode_sequences = std::count(rows.begin(), rows.end(), 1);
  batch.token_ids.zero_();
  batch.cache_slots.fill_(-1);  // nothing is written to the cache
  batch.attention.block_tables.zero_();
  auto* positions = batch.positions.data_ptr<int32_t>();
  auto* starts = batch.attention.query_start_locations.data_ptr<int32_t>();
  auto* lengths = batch.attention.context_lengths.data_ptr<int32_t>();
  starts[0] = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    std::iota(positions + starts[i], positions + starts[i] + rows[i], 0);
    lengths[i] = static_cast<int32_t>(rows[i]);
    starts[i + 1] = starts[i] + lengths[i];
    batch.rope_spans.push_back({.num_rows = rows[i], .sequence_length = rows[i]});
  }
  std::iota(batch.logit_rows.data_ptr<int64_t>(),
            batch.logit_rows.data_ptr<int64_t>() + num_logit_rows, 0);
  return inputs.Upload(batch, inputs.max_blocks());
}

}  // namespace

std::vector<int64_t> LargestStepRows(const StepLimits& limits) {
  const int64_t num_tokens =
      std::min(limits.max_num_batched_tokens, limits.max_num_seqs * limits.max_model_len);
  // With k prefills, num_tokens <= (max_num_seqs - k) + k · max_model_len.
  int64_t num_prefills = 0;
  if (num_tokens > limits.max_num_seqs) {
    const int64_t gain = limits.max_model_len - 1;
    num_prefills = (num_tokens - limits.max_num_seqs + gain - 1) / gain;
  }
  const int64_t num_decodes = std::min(num_tokens, limits.max_num_seqs - num_prefills);
  std::vector<int64_t> rows(static_cast<size_t>(num_decodes), 1);
  for (int64_t i = 0; i < num_prefills; ++i) {
    const int64_t left = num_tokens - num_decodes;
    rows.push_back(left * (i + 1) / num_prefills - left * i / num_prefills);
  }
  std::sort(rows.begin(), rows.end());
  return rows;
}

absl::Status RunLargestStep(LlamaModel& model, const KvCacheGeometry& geometry,
                            const StepLimits& limits, int rank, int world_size, StepInputs& inputs,
                            ComputeDevice& device, absl::Duration timeout) {
  const StepBatch batch = MakeBatch(LargestStepRows(limits), inputs);
  AbsentPeers peers(rank, world_size, device, timeout);
  KvCache cache(geometry, /*num_blocks=*/1);
  at::Tensor hidden;
  absl::Status status = model.Forward(batch, peers, cache, hidden);
  if (!status.ok()) return status;
  const int64_t num_rows = std::min(model.max_logit_rows(), batch.num_logit_rows);
  at::Tensor logits;
  status = model.Logits(hidden.narrow(0, 0, num_rows), peers, logits);
  return status.ok() ? peers.Wait() : status;
}

}  // namespace lockstep::worker
