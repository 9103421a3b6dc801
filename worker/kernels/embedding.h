#ifndef LOCKSTEP_WORKER_KERNELS_EMBEDDING_H_
#define LOCKSTEP_WORKER_KERNELS_EMBEDDING_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "worker/kernels/kernel_context.h"
#include "worker/kernels/linear.h"

namespace lockstep::worker {

// Looks up token embeddings in one rank's shard of the vocabulary, reading from the packed matrix
// that the head uses.
//
//   token_ids    [num_tokens] int32 or int64, any values
//   table        [vocab_end - vocab_begin (or more), hidden]: row r is token vocab_begin + r
//   vocab_begin  the shard's first token id
//   vocab_end    one past its last; ids outside [vocab_begin, vocab_end) give zeros, so that the
//   sum over ranks is the embedding out          [num_tokens, hidden], float32 or the table's
//   dtype, rows may be strided
//
// Throws c10::Error when shapes, dtypes or devices do not fit.
void EmbeddingLookup(KernelContext& context, const at::Tensor& token_ids, const LinearWeight& table,
                     int64_t vocab_begin, int64_t vocab_end, at::Tensor& out);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_KERNELS_EMBEDDING_H_
