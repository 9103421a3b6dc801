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
  // Where all of them are rows of one reported span, from its row `first_span_row` on, so that they
  // may be computed where they are sent from; else null.
  const LogitSpan* reported = nullptr;
  int64_t first_span_row = 0;
};

// A reported span of at least this many rows is worth a pass over the head of its own.
inline constexpr int64_t kMinReportedRows = 64;

// Divides all rows of the spans, in their order, into blocks of at most `max_rows`, as few as
// kMinReportedRows allows. Every rank comes to the same blocks. The result refers to `spans`.
std::vector<LogitBlock> DivideLogits(const std::vector<LogitSpan>& spans, int64_t max_rows);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_LOGIT_BLOCKS_H_
