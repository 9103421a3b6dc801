#include <vector>

#include "worker/kernels/cpu/gemm_driver.h"
#include "worker/kernels/cpu/ops.h"
#include "worker/kernels/cpu/packed_layout.h"

namespace lockstep::worker::cpu {
namespace {

template <typename T>
std::vector<float> ToFloats(const at::Tensor& values /* [num] */) {
  const T* data = values.const_data_ptr<T>();
  return std::vector<float>(data, data + values.numel());
}

std::vector<float> BiasAsFloats(const std::optional<at::Tensor>& bias) {
  if (!bias.has_value()) return {};
  switch (bias->scalar_type()) {
    case at::kFloat:
      return ToFloats<float>(*bias);
    case at::kHalf:
      return ToFloats<at::Half>(*bias);
    default:
      return ToFloats<at::BFloat16>(*bias);
  }
}

// But for `gated`; `bias_floats` is kept where it is for as long as the problem.
GemmProblem MakeProblem(const at::Tensor& x, const LinearWeight& weight,
                        const std::vector<float>& bias_floats, at::Tensor& out) {
  return {.x = x.const_data_ptr(),
          .x_stride = x.stride(0),
          .num_rows = x.size(0),
          .weight = weight.packed().const_data_ptr(),
          .weight_type = ElementTypeOf(weight.dtype()),
          .num_columns = weight.out_features(),
          .depth = weight.in_features(),
          .padded_depth = PaddedDepth(weight.in_features(), weight.dtype()),
          .bias = bias_floats.empty() ? nullptr : bias_floats.data(),
          .out = out.mutable_data_ptr(),
          .out_type = ElementTypeOf(out.scalar_type()),
          .out_stride = out.stride(0)};
}

// Gates and their factors are stored panel by panel.
bool HalvesAreWholePanels(const LinearWeight& weight) {
  return weight.out_features() % (2 * kPanelWidth) == 0;
}

}  // namespace

void Linear(KernelContext& context, const at::Tensor& x, const LinearWeight& weight,
            const std::optional<at::Tensor>& bias, at::Tensor& out) {
  const std::vector<float> bias_floats = BiasAsFloats(bias);
  RunGemm(context, MakeProblem(x, weight, bias_floats, out));
}

bool LinearSiluMultiply(KernelContext& context, const at::Tensor& x, const LinearWeight& weight,
                        const std::optional<at::Tensor>& bias, at::Tensor& out) {
  if (!HalvesAreWholePanels(weight)) return false;
  const std::vector<float> bias_floats = BiasAsFloats(bias);
  GemmProblem problem = MakeProblem(x, weight, bias_floats, out);
  problem.gated = true;
  RunGemm(context, problem);
  return true;
}

bool GatedMlp(KernelContext& context, const at::Tensor& x, const MlpWeights& weights,
              at::Tensor& out) {
  const int type = static_cast<int>(ElementTypeOf(weights.down.dtype()));
  if (!context.cpu_kernels().gemm[type].packs_panels || !HalvesAreWholePanels(weights.gate_up)) {
    return false;
  }
  const std::vector<float> gate_up_bias = BiasAsFloats(weights.gate_up_bias),
                           down_bias = BiasAsFloats(weights.down_bias);
  GemmProblem gated = MakeProblem(x, weights.gate_up, gate_up_bias, out);
  gated.gated = true;
  RunGatedMlp(context, gated, MakeProblem(x, weights.down, down_bias, out));
  return true;
}

}  // namespace lockstep::worker::cpu
