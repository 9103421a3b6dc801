#include "worker/runtime/device_tokens.h"

#include <ATen/ops/zeros.h>

#include <optional>

#include "worker/kernels/cuda/ops.h"

namespace lockstep::worker {
namespace {

at::Tensor OnHost(const ComputeDevice& device, int64_t size, at::ScalarType dtype) {
  return device.AllocateHost(size * static_cast<int64_t>(c10::elementSize(dtype))).view(dtype);
}

at::Tensor OnDevice(const ComputeDevice& device, int64_t size, at::ScalarType dtype) {
  return at::zeros({size}, at::TensorOptions().dtype(dtype).device(device.device()));
}

}  // namespace

DeviceTokens::DeviceTokens(const ComputeDevice& device, int rank,
                           const DeviceSampler::Limits& limits)
    : sampler_(rank == 0 ? std::make_unique<DeviceSampler>(device, limits) : nullptr),
      slots_(OnDevice(device, limits.max_rows, at::kInt)),
      token_ids_(OnDevice(device, limits.max_rows, at::kLong)),
      last_tokens_(OnDevice(device, limits.max_rows, at::kInt)) {
  for (Batch& batch : batches_) {
    batch.host_slots = OnHost(device, limits.max_rows, at::kInt);
    batch.host_token_ids = OnHost(device, limits.max_rows, at::kLong);
  }
}

void DeviceTokens::FillPending(at::Tensor& token_ids) const {
  cuda::FillPendingTokens(last_tokens_, token_ids);
}

absl::StatusOr<int> DeviceTokens::Choose(const std::vector<LogitSpan>& spans,
                                         const SlotTable& slots, const SlotMasks& masks,
                                         const at::Tensor& logits, Communicator& communicator) {
  const int ticket = next_;
  next_ = 1 - next_;
  Batch& batch = batches_[static_cast<size_t>(ticket)];
  batch.num_rows = static_cast<int64_t>(spans.size());
  const auto first_rows = [&](const at::Tensor& tensor) {
    return tensor.narrow(0, 0, batch.num_rows);
  };
  for (size_t i = 0; i < spans.size(); ++i) {
    batch.host_slots.mutable_data_ptr<int32_t>()[i] = static_cast<int32_t>(spans[i].slot);
  }
  at::Tensor token_ids = first_rows(token_ids_);
  if (sampler_ != nullptr) {
    batch.sampler_ticket =
        sampler_->Enqueue(Rows(spans, slots, masks), first_rows(logits), last_tokens_, token_ids);
  }
  if (communicator.world_size() > 1) {
    if (absl::Status status = communicator.Broadcast(token_ids); !status.ok()) return status;
  }
  const at::Tensor slots_on_device = first_rows(slots_);
  slots_on_device.copy_(first_rows(batch.host_slots), /*non_blocking=*/true);
  cuda::StoreTokens(token_ids, slots_on_device, last_tokens_);
  // Rank 0 has its own with the sampler's results.
  if (sampler_ == nullptr) {
    first_rows(batch.host_token_ids).copy_(token_ids, /*non_blocking=*/true);
  }
  return ticket;
}

std::vector<DeviceSampler::Row> DeviceTokens::Rows(const std::vector<LogitSpan>& spans,
                                                   const SlotTable& slots,
                                                   const SlotMasks& masks) const {
  std::vector<DeviceSampler::Row> rows;
  rows.reserve(spans.size());
  for (const LogitSpan& span : spans) {
    const Slot& slot = slots.slot(span.slot);
    const bool is_pending = slot.token_ids.back() == kPendingToken;
    const std::span<const uint32_t> tokens(slot.token_ids);
    rows.push_back({.parameters = &slot.sampling,
                    .position = static_cast<uint32_t>(tokens.size()),
                    .history = tokens.first(tokens.size() - (is_pending ? 1 : 0)),
                    .pending_slot = is_pending ? static_cast<int32_t>(span.slot) : -1,
                    .mask = masks.Of(span.slot),
                    .known = std::nullopt});
  }
  return rows;
}

std::vector<SampledChoice> DeviceTokens::Collect(int ticket) {
  const Batch& batch = batches_[static_cast<size_t>(ticket)];
  if (sampler_ != nullptr) return sampler_->Collect(batch.sampler_ticket);
  std::vector<SampledChoice> choices(static_cast<size_t>(batch.num_rows));
  const auto* token_ids = batch.host_token_ids.const_data_ptr<int64_t>();
  for (size_t i = 0; i < choices.size(); ++i) {
    choices[i].token_id = static_cast<uint32_t>(token_ids[i]);
  }
  return choices;
}

}  // namespace lockstep::worker
