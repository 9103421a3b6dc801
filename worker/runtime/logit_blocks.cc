#include "worker/runtime/logit_blocks.h"

#include <algorithm>

namespace lockstep::worker {
namespace {

bool IsLongReport(const LogitSpan& span) {
  return span.use == LogitSpan::Use::kReport && span.num_rows >= kMinShardedRows;
}

// Cuts rows [first, end) into the fewest blocks, as even as can be.
void Cut(int64_t first, int64_t end, int64_t max_rows, std::vector<LogitBlock>& blocks) {
  const int64_t size = end - first;
  const int64_t num_blocks = (size + max_rows - 1) / max_rows;
  for (int64_t block = 0; block < num_blocks; ++block) {
    const int64_t begin = size * block / num_blocks;
    blocks.push_back(
        {.first_row = first + begin, .num_rows = size * (block + 1) / num_blocks - begin});
  }
}

}  // namespace

std::vector<LogitBlock> DivideLogits(const std::vector<LogitSpan>& spans, int64_t max_rows,
                                     bool ranks_report) {
  std::vector<LogitBlock> blocks;
  int64_t first = 0;  // of the rows that are not in a block yet
  int64_t row = 0;
  for (const LogitSpan& span : spans) {
    const int64_t end = row + span.num_rows;
    if (ranks_report && IsLongReport(span)) {
      Cut(first, row, max_rows, blocks);
      blocks.push_back({.first_row = row, .num_rows = span.num_rows, .sharded = &span});
      first = end;
    }
    row = end;
  }
  Cut(first, row, max_rows, blocks);
  return blocks;
}

}  // namespace lockstep::worker
