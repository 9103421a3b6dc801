#ifndef LOCKSTEP_WORKER_DEVICE_CPU_DEVICE_H_
#define LOCKSTEP_WORKER_DEVICE_CPU_DEVICE_H_

#include <functional>
#include <memory>
#include <string>

#include "worker/device/compute_device.h"

namespace lockstep::worker {

// The host's processors. Work is done when the call that asks for it returns.
class CpuDevice : public ComputeDevice {
 public:
  explicit CpuDevice(int num_ranks = 1) : num_ranks_(num_ranks) {}

  at::Device device() const override { return at::kCPU; }
  c10::Stream stream() const override;
  bool computes_beside_host() const override { return false; }
  int num_ranks() const override { return num_ranks_; }
  absl::StatusOr<std::shared_ptr<StreamMark>> Mark(std::function<void()> on_reached) override;
  absl::Status Check() override { return absl::OkStatus(); }
  absl::Status Synchronize() override { return absl::OkStatus(); }
  // Of the machine, or of the control group where that has less.
  absl::StatusOr<DeviceMemory> Memory() const override;
  std::string Describe() const override { return "cpu"; }
  at::Tensor AllocateHost(int64_t num_bytes) const override;
  void CopyColumns(const at::Tensor& from, int64_t num_columns, at::Tensor& to) const override;
  GraphRecorder* graph_recorder() override { return nullptr; }
  absl::Status StartProfile() override;
  absl::Status StopProfile(const std::string& path) override;

 private:
  const int num_ranks_;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_DEVICE_CPU_DEVICE_H_
