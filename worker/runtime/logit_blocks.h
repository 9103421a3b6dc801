#ifndef LOCKSTEP_WORKER_RUNTIME_LOGIT_BLOCKS_H_
#define LOCKSTEP_WORKER_RUNTIME_LOGIT_BLOCKS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "worker/runtime/batch_builder.h"

namespace lockstep::worker {

// Logit rows of a step that are computed together.
struct LogitBlock {
  int64_t first_row = 0;
  int64_t num_rows = 0;
  // Where they are all rows of one span of which every rank reports its own columns, so that they
  // are computed where they are sent from; else null.
  const LogitSpan* sharded = nullptr;
};

// A reported span of at least this many rows is worth a pass over the head of its own.
inline constexpr int64_t kMinShardedRows = 64;

// Divides all rows of the spans, in their order, into blocks, as few as can be: where the ranks
// report their own columns, of whole spans that have kMinShardedRows, of any length; of at most
// `max_rows` otherwise. Every rank comes to the same blocks. The result refers to `spans`.
std::vector<LogitBlock> DivideLogits(const std::vector<LogitSpan>& spans, int64_t max_rows,
                                     bool ranks_report);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_LOGIT_BLOCKS_H_
