#ifndef LOCKSTEP_WORKER_SAMPLING_PACKED_ROWS_H_
#define LOCKSTEP_WORKER_SAMPLING_PACKED_ROWS_H_

#include <cstdint>
#include <span>

#include "worker/sampling/cuda/launchers.h"
#include "worker/sampling/device_sampler.h"

namespace lockstep::worker {

// Rows as the kernels read them: structs of fixed size, and words for what has none. Only what a
// row uses is packed.

// The words that the rows take together.
int64_t NumPackedWords(std::span<const DeviceSampler::Row> rows, int64_t vocab_size);

//   packed  [num_rows]
//   words   [NumPackedWords(rows, vocab_size)]
void PackRows(std::span<const DeviceSampler::Row> rows, int64_t vocab_size,
              cuda::SampledRow* packed, uint32_t* words);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_SAMPLING_PACKED_ROWS_H_
