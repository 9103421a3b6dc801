#ifndef LOCKSTEP_WORKER_SAMPLING_MIRRORED_BUFFER_H_
#define LOCKSTEP_WORKER_SAMPLING_MIRRORED_BUFFER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "worker/device/compute_device.h"

namespace lockstep::worker {

// Memory on the device and as much on the host, between which one transfer goes. On the CPU both
// are the same memory.
class MirroredBuffer {
 public:
  // The device is borrowed.
  explicit MirroredBuffer(const ComputeDevice& device) : device_(&device) {}

  // Makes room for `num_bytes`, twice as much as before at least where there was less. What was in
  // the buffer may be lost, and the device must be done with it.
  void Reserve(int64_t num_bytes);

  // Enqueues the transfer of the first `num_bytes`, on the current stream. Does not wait.
  void CopyToDevice(int64_t num_bytes);
  void CopyToHost(int64_t num_bytes);

  // At `offset` bytes, which is a multiple of T's alignment.
  template <typename T>
  T* OnHost(int64_t offset = 0) const {
    return reinterpret_cast<T*>(host_.data_ptr<uint8_t>() + offset);
  }
  template <typename T>
  T* OnDevice(int64_t offset = 0) const {
    return reinterpret_cast<T*>(on_device_.data_ptr<uint8_t>() + offset);
  }

 private:
  const ComputeDevice* device_;
  at::Tensor host_;       // [num_bytes] uint8
  at::Tensor on_device_;  // the same on the device; host_ itself on the CPU
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_SAMPLING_MIRRORED_BUFFER_H_
