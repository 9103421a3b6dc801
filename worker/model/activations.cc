#include "worker/model/activations.h"

#include <ATen/ops/empty.h>

#include "worker/kernels/huge_tensor.h"

namespace lockstep::worker {
namespace {

// Bytes between a row's end and the next one's begin. Rows a power of two apart would share a few
// sets of each cache: a product, which writes and reads many rows side by side, would wait for
// memory all the time.
constexpr int64_t kRowGapBytes = 64;

at::Tensor DenseMatrix(int64_t num_rows, int64_t num_columns, const at::TensorOptions& options) {
  if (!options.device().is_cpu()) return at::empty({num_rows, num_columns}, options);
  return ZerosInHugePages({num_rows, num_columns}, c10::typeMetaToScalarType(options.dtype()));
}

// On the CPU with gaps between the rows.
at::Tensor Matrix(int64_t num_rows, int64_t num_columns, const at::TensorOptions& options) {
  const int64_t gap = options.device().is_cpu()
                          ? kRowGapBytes / static_cast<int64_t>(options.dtype().itemsize())
                          : 0;
  return DenseMatrix(num_rows, num_columns + gap, options).narrow(1, 0, num_columns);
}

}  // namespace

Activations::Activations(const ActivationSizes& sizes) {
  const auto options = at::TensorOptions().device(sizes.device);
  const auto floats = options.dtype(at::kFloat);
  const auto elements = options.dtype(sizes.dtype);
  const int64_t num_rows = sizes.max_num_tokens;
  all_.residual = DenseMatrix(num_rows, sizes.hidden, floats);
  all_.partial = DenseMatrix(num_rows, sizes.hidden, floats);
  all_.normed = Matrix(num_rows, sizes.hidden, elements);
  all_.cos_sin = DenseMatrix(num_rows, sizes.head_dim, floats);
  all_.qkv = Matrix(num_rows, sizes.qkv, elements);
  all_.attended = Matrix(num_rows, sizes.q, elements);
  all_.gate_up = Matrix(num_rows, 2 * sizes.ffn, elements);
  all_.activated = Matrix(num_rows, sizes.ffn, elements);
  logit_shard_ = DenseMatrix(sizes.max_logit_rows, sizes.shard_vocab, floats);
  logits_ = DenseMatrix(sizes.max_logit_rows, sizes.gathered_vocab, floats);
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
