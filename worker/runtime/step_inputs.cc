#include "worker/runtime/step_inputs.h"

#include <ATen/ops/empty.h>
#include <c10/core/ScalarType.h>

namespace lockstep::worker {
namespace {

// Enough for the widest access of any kernel.
constexpr int64_t kAlignment = 64;

// What is copied in the time that one transfer more takes to start.
constexpr int64_t kBytesPerTransfer = int64_t{64} << 10;

// Places tensors one after another, in a buffer or, without one, only in thought.
class Placement {
 public:
  explicit Placement(const at::Tensor* buffer) : buffer_(buffer) {}

  // [size] of `dtype`; undefined without a buffer.
  at::Tensor Take(int64_t size, at::ScalarType dtype) {
    const int64_t num_bytes = size * static_cast<int64_t>(c10::elementSize(dtype));
    const int64_t begin = end_;
    end_ += (num_bytes + kAlignment - 1) / kAlignment * kAlignment;
    return buffer_ == nullptr ? at::Tensor() : buffer_->narrow(0, begin, num_bytes).view(dtype);
  }
  int64_t num_bytes() const { return end_; }

 private:
  const at::Tensor* buffer_;
  int64_t end_ = 0;
};

StepBatch Place(Placement& placement, const StepSizes& sizes, int64_t max_blocks) {
  StepBatch batch;
  batch.num_tokens = sizes.num_tokens;
  batch.num_logit_rows = sizes.num_logit_rows;
  batch.token_ids = placement.Take(sizes.num_tokens, at::kInt);
  batch.positions = placement.Take(sizes.num_tokens, at::kInt);
  batch.cache_slots = placement.Take(sizes.num_tokens, at::kLong);
  batch.logit_rows = placement.Take(sizes.num_logit_rows, at::kLong);
  batch.attention.query_start_locations = placement.Take(sizes.num_sequences + 1, at::kInt);
  batch.attention.context_lengths = placement.Take(sizes.num_sequences, at::kInt);
  // Last, because of them only a part is copied.
  const at::Tensor tables = placement.Take(sizes.num_sequences * max_blocks, at::kInt);
  if (tables.defined()) {
    batch.attention.block_tables = tables.view({sizes.num_sequences, max_blocks});
  }
  return batch;
}

int64_t NumBytes(const StepSizes& sizes, int64_t max_blocks) {
  Placement placement(nullptr);
  (void)Place(placement, sizes, max_blocks);
  return placement.num_bytes();
}

}  // namespace

StepInputs::StepInputs(const ComputeDevice& device, const StepSizes& largest, int64_t max_blocks)
    : device_(device), max_blocks_(max_blocks) {
  const int64_t num_bytes = NumBytes(largest, max_blocks);
  hosts_[0] = device.AllocateHost(num_bytes);
  hosts_[1] = device.computes_beside_host() ? device.AllocateHost(num_bytes) : hosts_[0];
  there_ =
      device.device().is_cpu() && !device.computes_beside_host()
          ? hosts_[0]
          : at::empty({num_bytes}, at::TensorOptions().dtype(at::kByte).device(device.device()));
}

StepBatch StepInputs::HostBatch(const StepSizes& sizes) const {
  Placement placement(&hosts_[next_host_]);
  return Place(placement, sizes, max_blocks_);
}

StepBatch StepInputs::Upload(const StepBatch& host_batch, int64_t num_blocks) {
  const at::Tensor& host = hosts_[next_host_];
  if (there_.is_same(host)) return host_batch;
  next_host_ = 1 - next_host_;
  const at::Tensor& tables = host_batch.attention.block_tables;
  const int64_t num_sequences = tables.size(0);
  const StepSizes sizes = {.num_tokens = host_batch.token_ids.size(0),
                           .num_sequences = num_sequences,
                           .num_logit_rows = host_batch.logit_rows.size(0)};
  Placement placement(&there_);
  StepBatch placed = Place(placement, sizes, max_blocks_);
  const auto entry_size = static_cast<int64_t>(sizeof(int32_t));
  const int64_t before_tables = NumBytes(sizes, /*max_blocks=*/0);
  const int64_t unused = (num_sequences - 1) * (max_blocks_ - num_blocks) * entry_size;
  const bool tables_apart = unused > kBytesPerTransfer;
  const int64_t up_to_last_entry = ((num_sequences - 1) * max_blocks_ + num_blocks) * entry_size;
  const int64_t num_bytes = before_tables + (tables_apart ? 0 : up_to_last_entry);
  there_.narrow(0, 0, num_bytes).copy_(host.narrow(0, 0, num_bytes), /*non_blocking=*/true);
  if (tables_apart) device_.CopyColumns(tables, num_blocks, placed.attention.block_tables);
  StepBatch batch = host_batch;
  batch.token_ids = placed.token_ids;
  batch.positions = placed.positions;
  batch.cache_slots = placed.cache_slots;
  batch.logit_rows = placed.logit_rows;
  batch.attention.query_start_locations = placed.attention.query_start_locations;
  batch.attention.context_lengths = placed.attention.context_lengths;
  batch.attention.block_tables = placed.attention.block_tables;
  return batch;
}

}  // namespace lockstep::worker
