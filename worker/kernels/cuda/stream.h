#ifndef LOCKSTEP_WORKER_KERNELS_CUDA_STREAM_H_
#define LOCKSTEP_WORKER_KERNELS_CUDA_STREAM_H_

#include <c10/core/Device.h>

#include "worker/kernels/cuda/launchers.h"

namespace lockstep::worker::cuda {

// LibTorch's current stream of the device, on this thread.
Stream CurrentStream(at::Device device);

// Throws c10::Error when the launch of `op`'s kernels was refused.
void CheckLaunch(const char* op);

}  // namespace lockstep::worker::cuda

#endif  // LOCKSTEP_WORKER_KERNELS_CUDA_STREAM_H_
