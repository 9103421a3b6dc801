#ifndef LOCKSTEP_WORKER_MODEL_ACTIVATIONS_H_
#define LOCKSTEP_WORKER_MODEL_ACTIVATIONS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace lockstep::worker {

struct ActivationSizes {
  int64_t max_num_tokens = 0;
  int64_t max_logit_rows = 0;
  int64_t hidden = 0;
  int64_t head_dim = 0;
  int64_t qkv = 0;             // this rank's
  int64_t q = 0;               // this rank's
  int64_t ffn = 0;             // this rank's
  int64_t shard_vocab = 0;     // this rank's, where logits do not go to the gathered ones directly
  int64_t gathered_vocab = 0;  // the whole vocabulary on rank 0, else 0
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
};

// The leading rows of the buffers that the layers work in; those of the model's dtype may have gaps
// between the rows.
struct ActivationRows {
  at::Tensor residual;   // [num_rows, hidden] float32
  at::Tensor partial;    // [num_rows, hidden] float32: one rank's part; its own rows become sums
  at::Tensor normed;     // [num_rows, hidden]
  at::Tensor cos_sin;    // [num_rows, head_dim] float32
  at::Tensor qkv;        // [num_rows, qkv]
  at::Tensor attended;   // [num_rows, q]
  at::Tensor gate_up;    // [num_rows, 2 · ffn]
  at::Tensor activated;  // [num_rows, ffn]
};

// Buffers for the largest step, allocated once: a step allocates nothing large, and on the CPU the
// pages beyond the largest step seen are never touched.
class Activations {
 public:
  explicit Activations(const ActivationSizes& sizes);

  ActivationRows Rows(int64_t num_rows) const;
  // [num_rows, shard_vocab] float32, this rank's part.
  at::Tensor LogitShard(int64_t num_rows) const { return logit_shard_.narrow(0, 0, num_rows); }
  // [num_rows, gathered_vocab] float32; on rank 0 alone.
  at::Tensor Logits(int64_t num_rows) const { return logits_.narrow(0, 0, num_rows); }

 private:
  ActivationRows all_;
  at::Tensor logit_shard_;
  at::Tensor logits_;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_MODEL_ACTIVATIONS_H_
