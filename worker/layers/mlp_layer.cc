#include "worker/layers/mlp_layer.h"

#include "worker/kernels/linear.h"

namespace lockstep::worker {

MlpLayer::MlpLayer(WeightLoader& loader, const std::string& prefix, bool has_bias) {
  weights_.gate_up = loader.Matrix({prefix + "gate_proj.weight", prefix + "up_proj.weight"});
  weights_.down = loader.Matrix({prefix + "down_proj.weight"});
  if (!has_bias) return;
  weights_.gate_up_bias = loader.Vector({prefix + "gate_proj.bias", prefix + "up_proj.bias"});
  if (at::Tensor bias = loader.Vector({prefix + "down_proj.bias"}); bias.defined())
    weights_.down_bias = bias;
}

void MlpLayer::Forward(KernelContext& context, const at::Tensor& x, at::Tensor& gate_up,
                       at::Tensor& activated, bool adds, at::Tensor& out) const {
  GatedMlp(context, x, weights_, gate_up, activated, adds, out);
}

}  // namespace lockstep::worker
