#ifndef LOCKSTEP_WORKER_RUNTIME_REFERENCE_MODEL_H_
#define LOCKSTEP_WORKER_RUNTIME_REFERENCE_MODEL_H_

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/device/compute_device.h"
#include "worker/kernels/kernel_context.h"

namespace lockstep::worker {

// A small Llama with weights from a seed, through all kernels of a device: a prefill of some
// tokens, then a decode. Its logits, those of the prefill's last token and those of the decode, in
// the given dtype. Ranks compute it whole, each by itself, so that a wrong one is known by its
// number. Errors are the device's, which is waited for as long as `timeout`; throws c10::Error when
// a kernel fails.
absl::StatusOr<std::vector<float>> ReferenceModelLogits(ComputeDevice& device, at::ScalarType dtype,
                                                        absl::Duration timeout,
                                                        KernelContext& context);

// The same as a CPU computed them in float32 when this was written.
std::span<const float> StoredLogits();

// INTERNAL, with the difference and what to do about it, where the logits are further from
// StoredLogits than the dtype's rounding explains. `description` is the device's.
absl::Status CompareWithStored(std::span<const float> logits, at::ScalarType dtype,
                               const std::string& description);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_REFERENCE_MODEL_H_
