#include "worker/model/activations.h"

#include <ATen/ops/empty.h>

namespace lockstep::worker {

Activations::Activations(const ActivationSizes& sizes) {
  const auto options = at::TensorOptions().device(sizes.device);
  const auto floats = options.dtype(at::kFloat);
  const auto elements = options.dtype(sizes.dtype);
  const int64_t num_rows = sizes.max_num_tokens;
  all_.residual = at::empty({num_rows, sizes.hidden}, floats);
  all_.partial = at::empty({num_rows, sizes.hidden}, floats);
  all_.normed = at::empty({num_rows, sizes.hidden}, elements);
  all_.cos_sin = at::empty({num_rows, sizes.head_dim}, floats);
  all_.qkv = at::empty({num_rows, sizes.qkv}, elements);
  all_.attended = at::empty({num_rows, sizes.q}, elements);
  all_.gate_up = at::empty({num_rows, 2 * sizes.ffn}, elements);
  all_.activated = at::empty({num_rows, sizes.ffn}, elements);
  logit_shard_ = at::empty({sizes.max_logit_rows, sizes.shard_vocab}, floats);
  logits_ = at::empty({sizes.max_logit_rows, sizes.gathered_vocab}, floats);
}

ActivationRows Activations::Rows(int64_t num_rows) const {
  const auto rows = [num_rows](const at::Tensor& buffer) { return buffer.narrow(0, 0, num_rows); };
  return {.residual = rows(all_.residual),
          .partial = rows(all_.partial),
          .normed = rows(all_.normed),
          .cos_sin = rows(all_.cos_sin),
          .qkv = rows(all_.qkv),
          .attended = rows(all_.attended),
          .gate_up = rows(all_.gate_up),
          .activated = rows(all_.activated)};
}

}  // namespace lockstep::worker
