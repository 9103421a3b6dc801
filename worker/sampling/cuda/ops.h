// The GPU's part of DeviceSampler, on the current stream; a build without CUDA refuses it.
#ifndef LOCKSTEP_WORKER_SAMPLING_CUDA_OPS_H_
#define LOCKSTEP_WORKER_SAMPLING_CUDA_OPS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "worker/sampling/cuda/launchers.h"

namespace lockstep::worker::cuda {

// Scratch memory for SampleRows, on `device`: [num_floats] float32.
at::Tensor AllocateSamplerScratch(int64_t max_rows, int64_t vocab_size, at::Device device);

// Throws c10::Error when the launch is refused.
void SampleRows(const SampledRowArguments& arguments, at::Device device);

}  // namespace lockstep::worker::cuda

#endif  // LOCKSTEP_WORKER_SAMPLING_CUDA_OPS_H_
