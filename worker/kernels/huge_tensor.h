#ifndef LOCKSTEP_WORKER_KERNELS_HUGE_TENSOR_H_
#define LOCKSTEP_WORKER_KERNELS_HUGE_TENSOR_H_

#include <ATen/core/Tensor.h>

namespace lockstep::worker {

// A tensor of zeros on the CPU, in HugePages (worker/memory). Throws std::bad_alloc.
at::Tensor ZerosInHugePages(at::IntArrayRef shape, at::ScalarType dtype);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_KERNELS_HUGE_TENSOR_H_
