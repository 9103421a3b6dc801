#include "worker/sampling/cuda/ops.h"

#include <ATen/ops/empty.h>

#include "worker/kernels/cuda/stream.h"

namespace lockstep::worker::cuda {

at::Tensor AllocateSamplerScratch(int64_t max_rows, int64_t vocab_size, at::Device device) {
  return at::empty({SamplerScratchFloats(max_rows, vocab_size)},
                   at::TensorOptions().dtype(at::kFloat).device(device));
}

void SampleRows(const SampledRowArguments& arguments, at::Device device) {
  LaunchSampleRows(arguments, CurrentStream(device));
  CheckLaunch("SampleRows");
}

}  // namespace lockstep::worker::cuda
