#include "worker/device/cpu_device.h"

#include <ATen/ops/empty.h>

#include "worker/device/host_memory.h"

namespace lockstep::worker {

c10::Stream CpuDevice::stream() const {
  return c10::Stream(c10::Stream::DEFAULT, at::Device(at::kCPU));
}

absl::StatusOr<std::shared_ptr<StreamMark>> CpuDevice::Mark(std::function<void()> on_reached) {
  auto mark = std::make_shared<StreamMark>();
  mark->SetReached();
  if (on_reached) on_reached();
  return mark;
}

absl::StatusOr<DeviceMemory> CpuDevice::Memory() const { return HostMemory(); }

absl::Status CpuDevice::StartProfile() {
  return absl::FailedPreconditionError("profiles are of GPUs, and the device is the CPU");
}

absl::Status CpuDevice::StopProfile(const std::string& /*path*/) { return StartProfile(); }

at::Tensor CpuDevice::AllocateHost(int64_t num_bytes) const {
  return at::empty({num_bytes}, at::TensorOptions().dtype(at::kByte));
}

void CpuDevice::CopyColumns(const at::Tensor& from, int64_t num_columns, at::Tensor& to) const {
  to.narrow(1, 0, num_columns).copy_(from.narrow(1, 0, num_columns));
}

}  // namespace lockstep::worker
