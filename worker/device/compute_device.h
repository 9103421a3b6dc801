#ifndef LOCKSTEP_WORKER_DEVICE_COMPUTE_DEVICE_H_
#define LOCKSTEP_WORKER_DEVICE_COMPUTE_DEVICE_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Stream.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/device/graph_recorder.h"
#include "worker/device/local_rank.h"
#include "worker/device/stream_mark.h"

namespace lockstep::worker {

// Bytes, for all processes that share the device.
struct DeviceMemory {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;
};

// What one rank computes on: the host's processors or one GPU.
//
// From one thread at a time. Outlives the tensors, graphs and communicators that use it.
class ComputeDevice {
 public:
  virtual ~ComputeDevice() = default;

  // "cpu" or "cuda:N" as text.
  virtual at::Device device() const = 0;

  // Where this rank's work is enqueued: work goes under a c10::StreamGuard of it. On the CPU there
  // is no queue, and the guard does nothing.
  virtual c10::Stream stream() const = 0;

  // Whether work goes on after the call that enqueued it has returned.
  virtual bool computes_beside_host() const = 0;

  // How many ranks compute on this device, this one included, as far as it is known. They divide
  // its memory.
  virtual int num_ranks() const = 0;

  // The place behind all that has been enqueued on stream(). `on_reached`, unless empty, is called
  // once when the device gets there, on any thread, and must neither block nor use the device. A
  // device that fails never gets there: see Check. INTERNAL, too, while the stream is being
  // recorded: a mark would be recorded with it.
  virtual absl::StatusOr<std::shared_ptr<StreamMark>> Mark(std::function<void()> on_reached) = 0;

  // INTERNAL when the device has failed. Does not wait.
  virtual absl::Status Check() = 0;

  // Returns when everything that this process enqueued on the device is done, on any stream.
  // INTERNAL when the device failed. Has no deadline: a wait for
  // stream() alone is Communicator::Wait.
  virtual absl::Status Synchronize() = 0;

  // INTERNAL when the device does not answer.
  virtual absl::StatusOr<DeviceMemory> Memory() const = 0;

  // For people, without the kernels: "cpu", "cuda:0 NVIDIA H200, 139.8 GiB".
  virtual std::string Describe() const = 0;

  // Uninitialized host memory that the device copies from and to at full speed and without blocking
  // the host: page-locked for a GPU. [num_bytes] uint8. Throws c10::Error when there is none left.
  virtual at::Tensor AllocateHost(int64_t num_bytes) const = 0;

  // Copies the first `num_columns` of each row of `from`, [num_rows, width] in AllocateHost's
  // memory, to those of `to`, the same shape and dtype on the device, both contiguous: enqueued on
  // stream(), in one transfer. Throws c10::Error when the device refuses.
  virtual void CopyColumns(const at::Tensor& from, int64_t num_columns, at::Tensor& to) const = 0;

  // Null where the device cannot record.
  virtual GraphRecorder* graph_recorder() = 0;

  // Begins to note what the device does, one profile at a time in a process. Slows the host down.
  // FAILED_PRECONDITION on the CPU. Throws c10::Error when the device's tracing library fails.
  virtual absl::Status StartProfile() = 0;

  // Ends it and writes it to `path` in Chrome's trace format, once everything enqueued is done.
  // Blocks for as long as that takes, seconds even. Throws as StartProfile.
  virtual absl::Status StopProfile(const std::string& path) = 0;
};

// Opens the device that `name` asks for, "cpu" or "cuda". Rank r of a machine takes GPU r, and GPU
// r modulo their number where there are fewer: tests of several ranks need one GPU.
//
// INVALID_ARGUMENT for another name. FAILED_PRECONDITION says what is missing and how to get it:
// a build with CUDA, a driver, a newer driver, a visible GPU, a GPU that the kernels are built for.
// INTERNAL when a GPU is there and fails.
absl::StatusOr<std::unique_ptr<ComputeDevice>> OpenDevice(const std::string& name,
                                                          LocalRank local_rank = {});

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_DEVICE_COMPUTE_DEVICE_H_
