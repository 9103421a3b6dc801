#include "worker/runtime/token_exchange.h"

#include <ATen/ops/empty.h>

namespace lockstep::worker {

TokenExchange::TokenExchange(const ComputeDevice& device, int64_t max_num_tokens)
    : host_(device.AllocateHost(max_num_tokens * static_cast<int64_t>(sizeof(int64_t)))
                .view(at::kLong)) {
  on_device_ = device.device().is_cpu()
                   ? host_
                   : at::empty(host_.sizes(), host_.options().device(device.device()));
}

absl::StatusOr<std::span<const int64_t>> TokenExchange::Share(
    const std::vector<SampledToken>& sampled, int64_t num_tokens, Communicator& communicator) {
  at::Tensor host = host_.narrow(0, 0, num_tokens);
  at::Tensor on_device = on_device_.narrow(0, 0, num_tokens);
  const bool is_source = communicator.rank() == 0;
  const bool has_copies = !on_device_.is_same(host_);
  if (is_source) {
    for (size_t i = 0; i < sampled.size(); ++i) host.data_ptr<int64_t>()[i] = sampled[i].token_id;
  }
  if (communicator.world_size() > 1) {
    if (is_source && has_copies) on_device.copy_(host, /*non_blocking=*/true);
    absl::Status status = communicator.Broadcast(on_device);
    if (!status.ok()) return status;
    if (!is_source && has_copies) host.copy_(on_device, /*non_blocking=*/true);
  }
  if (absl::Status status = communicator.Wait(); !status.ok()) return status;
  return std::span<const int64_t>(host.const_data_ptr<int64_t>(), static_cast<size_t>(num_tokens));
}

}  // namespace lockstep::worker
