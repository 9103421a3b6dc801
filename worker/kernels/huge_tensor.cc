#include "worker/kernels/huge_tensor.h"

#include <ATen/ops/from_blob.h>

#include <memory>
#include <utility>

#include "worker/memory/huge_pages.h"

namespace lockstep::worker {

at::Tensor ZerosInHugePages(at::IntArrayRef shape, at::ScalarType dtype) {
  size_t num_bytes = c10::elementSize(dtype);
  for (const int64_t size : shape) num_bytes *= static_cast<size_t>(size);
  auto memory = std::make_shared<HugePages>(num_bytes);
  void* data = memory->data();
  return at::from_blob(
      data, shape, [memory = std::move(memory)](void*) {}, at::TensorOptions(dtype));
}

}  // namespace lockstep::worker
