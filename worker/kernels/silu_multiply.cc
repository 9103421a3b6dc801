#include "worker/kernels/silu_multiply.h"

#include "worker/kernels/cpu/ops.h"
#include "worker/kernels/cuda/ops.h"
#include "worker/kernels/tensor_checks.h"

namespace lockstep::worker {

void SiluMultiply(KernelContext& context, const at::Tensor& gate_up, at::Tensor& out) {
  constexpr const char* kOp = "SiluMultiply";
  TORCH_CHECK(out.defined() && out.dim() == 2, kOp, ": out is not a matrix");
  CheckRows(out, out.size(0), out.size(1), kOp, "out");
  CheckRows(gate_up, out.size(0), 2 * out.size(1), kOp, "gate_up");
  CheckFloating(out.scalar_type(), kOp, "out");
  CheckDtype(gate_up, out.scalar_type(), kOp, "gate_up");
  CheckDevices(kOp, out.device(), {&gate_up});
  if (out.is_cuda()) return cuda::SiluMultiply(gate_up, out);
  cpu::SiluMultiply(context, gate_up, out);
}

}  // namespace lockstep::worker
