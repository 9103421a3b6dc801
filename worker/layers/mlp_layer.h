#ifndef LOCKSTEP_WORKER_LAYERS_MLP_LAYER_H_
#define LOCKSTEP_WORKER_LAYERS_MLP_LAYER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

#include "worker/kernels/kernel_context.h"
#include "worker/kernels/linear.h"
#include "worker/layers/weight_loader.h"

namespace lockstep::worker {

// down(silu(gate(x)) · up(x)) over this rank's part of the intermediate features. gate and up are
// one fused matrix; the result is a partial sum over the ranks.
class MlpLayer {
 public:
  // `prefix`: "model.layers.3.mlp.".
  MlpLayer(WeightLoader& loader, const std::string& prefix, bool has_bias);

  // This rank's intermediate features.
  int64_t ffn_size() const { return weights_.down.in_features(); }

  //   x          [num_tokens, hidden], the model's dtype
  //   gate_up    [num_tokens, 2 · ffn_size], the model's dtype, for use in between
  //   activated  [num_tokens, ffn_size], the model's dtype, for use in between
  //   out        [num_tokens, hidden] float32; with `adds` the result is added to it
  void Forward(KernelContext& context, const at::Tensor& x, at::Tensor& gate_up,
               at::Tensor& activated, bool adds, at::Tensor& out) const;

  int64_t num_bytes() const { return weights_.gate_up.num_bytes() + weights_.down.num_bytes(); }

 private:
  MlpWeights weights_;  // down's bias on rank 0 alone
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_LAYERS_MLP_LAYER_H_
