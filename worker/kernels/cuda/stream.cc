#include "worker/kernels/cuda/stream.h"

#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>

namespace lockstep::worker::cuda {

Stream CurrentStream(at::Device device) {
  return c10::cuda::getCurrentCUDAStream(device.index()).stream();
}

void CheckLaunch(const char* op) {
  const cudaError_t error = cudaGetLastError();
  TORCH_CHECK(error == cudaSuccess, op, " on the GPU: ", cudaGetErrorString(error));
}

}  // namespace lockstep::worker::cuda
