// The GPU's sampler in a build without CUDA, where no logits can be on a GPU.
#include <c10/util/Exception.h>

#include "worker/sampling/cuda/ops.h"

namespace lockstep::worker::cuda {
namespace {

[[noreturn]] void Refuse() {
  TORCH_CHECK(false,
              "DeviceSampler: this build samples on the CPU only; configure the preset cuda");
}

}  // namespace

at::Tensor AllocateSamplerScratch(int64_t max_rows, int64_t vocab_size, at::Device device) {
  Refuse();
}

void SampleRows(const SampledRowArguments& arguments, at::Device device) { Refuse(); }

}  // namespace lockstep::worker::cuda
