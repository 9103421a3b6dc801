#include "worker/layers/mlp_layer.h"

#include "worker/kernels/linear.h"

namespace lockstep::worker {

MlpLayer::MlpLayer(WeightLoader& loader, const std::string& prefix, bool has_bias) {
  gate_up_ = loader.Matrix({prefix + "gate_proj.weight", prefix + "up_proj.weight"});
  down_ = loader.Matrix({prefix + "down_proj.weight"});
  if (!has_bias) return;
  gate_up_bias_ = loader.Vector({prefix + "gate_proj.bias", prefix + "up_proj.bias"});
  if (at::Tensor bias = loader.Vector({prefix + "down_proj.bias"}); bias.defined())
    down_bias_ = bias;
}

void MlpLayer::Forward(KernelContext& context, const at::Tensor& x, at::Tensor& gate_up,
                       at::Tensor& activated, bool adds, at::Tensor& out) const {
  LinearSiluMultiply(context, x, gate_up_, gate_up_bias_, gate_up, activated);
  if (adds) {
    LinearAdd(context, activated, down_, down_bias_, out);
  } else {
    Linear(context, activated, down_, down_bias_, out);
  }
}

}  // namespace lockstep::worker
