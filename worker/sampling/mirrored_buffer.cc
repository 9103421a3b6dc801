#include "worker/sampling/mirrored_buffer.h"

#include <ATen/ops/empty.h>

#include <algorithm>

namespace lockstep::worker {

void MirroredBuffer::Reserve(int64_t num_bytes) {
  const int64_t capacity = host_.defined() ? host_.numel() : 0;
  if (num_bytes <= capacity) return;
  host_ = device_->AllocateHost(std::max(num_bytes, 2 * capacity));
  on_device_ = device_->device().is_cpu()
                   ? host_
                   : at::empty(host_.sizes(),
                               at::TensorOptions().dtype(at::kByte).device(device_->device()));
}

void MirroredBuffer::CopyToDevice(int64_t num_bytes) {
  if (on_device_.is_same(host_)) return;
  on_device_.narrow(0, 0, num_bytes).copy_(host_.narrow(0, 0, num_bytes), /*non_blocking=*/true);
}

void MirroredBuffer::CopyToHost(int64_t num_bytes) {
  if (on_device_.is_same(host_)) return;
  host_.narrow(0, 0, num_bytes).copy_(on_device_.narrow(0, 0, num_bytes), /*non_blocking=*/true);
}

}  // namespace lockstep::worker
