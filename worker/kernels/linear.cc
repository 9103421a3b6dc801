#include "worker/kernels/linear.h"

#include <ATen/ops/empty_like.h>

#include "worker/kernels/cpu/linear_weight.h"
#include "worker/kernels/cpu/ops.h"
#include "worker/kernels/cuda/ops.h"
#include "worker/kernels/silu_multiply.h"
#include "worker/kernels/tensor_checks.h"

namespace lockstep::worker {

LinearWeight LinearWeight::Create(int64_t out_features, int64_t in_features, at::ScalarType dtype,
                                  at::Device device) {
  TORCH_CHECK(out_features > 0 && in_features > 0, "a weight needs positive dimensions, not [",
              out_features, ", ", in_features, "]");
  CheckFloating(dtype, "LinearWeight", "dtype");
  TORCH_CHECK(device.is_cpu() || device.is_cuda(), "weights on ", device, " are not supported");
  LinearWeight weight;
  weight.packed_ = device.is_cpu() ? cpu::AllocatePackedWeight(out_features, in_features, dtype)
                                   : cuda::AllocateWeight(out_features, in_features, dtype, device);
  weight.out_features_ = out_features;
  weight.in_features_ = in_features;
  return weight;
}

void LinearWeight::PackRows(int64_t first_row, int64_t num_rows, const void* src,
                            at::ScalarType src_dtype, int64_t src_row_stride) {
  TORCH_CHECK(defined(), "PackRows on an undefined weight");
  TORCH_CHECK(first_row >= 0 && num_rows >= 0 && first_row <= out_features_ - num_rows, "rows [",
              first_row, ", ", first_row + num_rows, ") are outside the weight's ", out_features_,
              " output features");
  CheckFloating(src_dtype, "PackRows", "the source");
  if (packed_.is_cuda()) {
    return cuda::PackWeightRows(packed_, first_row, num_rows, src, src_dtype, src_row_stride);
  }
  cpu::PackWeightRows(packed_, in_features_, first_row, num_rows, src, src_dtype, src_row_stride);
}

namespace {

void CheckLinear(const char* op, const at::Tensor& x, const LinearWeight& weight,
                 const std::optional<at::Tensor>& bias, const at::Tensor& out) {
  TORCH_CHECK(weight.defined() && x.defined() && x.dim() == 2, op,
              ": undefined weight, or x is not a matrix");
  const int64_t num_tokens = x.size(0);
  CheckRows(x, num_tokens, weight.in_features(), op, "x");
  CheckRows(out, num_tokens, weight.out_features(), op, "out");
  CheckDtype(x, weight.dtype(), op, "x");
  CheckDtypeOrFloat(out, weight.dtype(), op, "out");
  if (bias.has_value()) {
    CheckDtypeOrFloat(*bias, weight.dtype(), op, "bias");
    CheckVector(*bias, weight.out_features(), bias->scalar_type(), op, "bias");
  }
  CheckDevices(op, out.device(), {&x, &weight.packed()});
  if (bias.has_value()) CheckDevices(op, out.device(), {&*bias});
}

}  // namespace

void Linear(KernelContext& context, const at::Tensor& x, const LinearWeight& weight,
            const std::optional<at::Tensor>& bias, at::Tensor& out) {
  CheckLinear("Linear", x, weight, bias, out);
  if (out.is_cuda()) return cuda::Linear(x, weight, bias, out);
  cpu::Linear(context, x, weight, bias, out);
}

void LinearAdd(KernelContext& context, const at::Tensor& x, const LinearWeight& weight,
               const std::optional<at::Tensor>& bias, at::Tensor& out) {
  CheckLinear("LinearAdd", x, weight, bias, out);
  TORCH_CHECK(out.scalar_type() == at::kFloat && out.is_contiguous(),
              "LinearAdd: out must be dense and float32");
  if (out.is_cuda()) return cuda::LinearAdd(x, weight, bias, out);
  at::Tensor part = at::empty_like(out);
  cpu::Linear(context, x, weight, bias, part);
  out.add_(part);
}

void LinearSiluMultiply(KernelContext& context, const at::Tensor& x, const LinearWeight& weight,
                        const std::optional<at::Tensor>& bias, at::Tensor& gate_up,
                        at::Tensor& out) {
  CheckLinear("LinearSiluMultiply", x, weight, bias, gate_up);
  CheckRows(out, x.size(0), weight.out_features() / 2, "LinearSiluMultiply", "out");
  CheckDtype(out, weight.dtype(), "LinearSiluMultiply", "out");
  CheckDevices("LinearSiluMultiply", gate_up.device(), {&out});
  const bool is_done = out.is_cuda() ? cuda::LinearSiluMultiply(x, weight, bias, out)
                                     : cpu::LinearSiluMultiply(context, x, weight, bias, out);
  if (is_done) return;
  Linear(context, x, weight, bias, gate_up);
  SiluMultiply(context, gate_up, out);
}

void GatedMlp(KernelContext& context, const at::Tensor& x, const MlpWeights& weights,
              at::Tensor& gate_up, at::Tensor& activated, bool adds, at::Tensor& out) {
  if (!adds && out.is_cpu()) {
    CheckLinear("GatedMlp", x, weights.gate_up, weights.gate_up_bias, gate_up);
    CheckLinear("GatedMlp", activated, weights.down, weights.down_bias, out);
    TORCH_CHECK(weights.gate_up.out_features() == 2 * weights.down.in_features(),
                "GatedMlp: gate_up has ", weights.gate_up.out_features(), " features, down takes ",
                weights.down.in_features());
    if (cpu::GatedMlp(context, x, weights, out)) return;
  }
  LinearSiluMultiply(context, x, weights.gate_up, weights.gate_up_bias, gate_up, activated);
  if (adds) {
    LinearAdd(context, activated, weights.down, weights.down_bias, out);
  } else {
    Linear(context, activated, weights.down, weights.down_bias, out);
  }
}

}  // namespace lockstep::worker
