#include "worker/kernels/rms_norm.h"

#include "worker/kernels/cpu/ops.h"
#include "worker/kernels/cuda/ops.h"
#include "worker/kernels/tensor_checks.h"

namespace lockstep::worker {
namespace {

void CheckArguments(const char* op, const at::Tensor& x, const at::Tensor& weight,
                    const at::Tensor& out) {
  TORCH_CHECK(x.defined() && x.dim() == 2 && out.defined(), op,
              ": x is not a matrix, or out is undefined");
  CheckRows(x, x.size(0), x.size(1), op, "x");
  CheckRows(out, x.size(0), x.size(1), op, "out");
  CheckFloating(out.scalar_type(), op, "out");
  CheckDtypeOrFloat(x, out.scalar_type(), op, "x");
  CheckVector(weight, x.size(1), out.scalar_type(), op, "weight");
  CheckDevices(op, out.device(), {&x, &weight});
}

}  // namespace

void RmsNorm(KernelContext& context, const at::Tensor& x, const at::Tensor& weight, double epsilon,
             at::Tensor& out) {
  CheckArguments("RmsNorm", x, weight, out);
  if (out.is_cuda()) return cuda::RmsNorm(x, nullptr, weight, epsilon, out);
  cpu::RmsNorm(context, x, nullptr, weight, epsilon, out);
}

void AddRmsNorm(KernelContext& context, const at::Tensor& x, at::Tensor& residual,
                const at::Tensor& weight, double epsilon, at::Tensor& out) {
  CheckArguments("AddRmsNorm", x, weight, out);
  CheckRows(residual, x.size(0), x.size(1), "AddRmsNorm", "residual");
  CheckDtype(residual, at::kFloat, "AddRmsNorm", "residual");
  CheckDevices("AddRmsNorm", out.device(), {&residual});
  if (out.is_cuda()) return cuda::RmsNorm(x, &residual, weight, epsilon, out);
  cpu::RmsNorm(context, x, &residual, weight, epsilon, out);
}

}  // namespace lockstep::worker
