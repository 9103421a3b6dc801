#include "worker/runtime/logit_blocks.h"

#include <algorithm>

namespace lockstep::worker {
namespace {

bool HasOwnBlocks(const LogitSpan& span) {
  return span.use == LogitSpan::Use::kReport && span.num_rows >= kMinReportedRows;
}

// Cuts rows [first, end) into the fewest blocks, as even as can be.
void Cut(int64_t first, int64_t end, int64_t max_rows, const LogitSpan* reported,
         std::vector<LogitBlock>& blocks) {
  const int64_t size = end - first;
  const int64_t num_blocks = (size + max_rows - 1) / max_rows;
  for (int64_t block = 0; block < num_blocks; ++block) {
    const int64_t begin = size * block / num_blocks;
    blocks.push_back({.first_row = first + begin,
                      .num_rows = size * (block + 1) / num_blocks - begin,
                      .reported = reported,
                      .first_span_row = reported == nullptr ? 0 : begin});
  }
}

}  // namespace

std::vector<LogitBlock> DivideLogits(const std::vector<LogitSpan>& spans, int64_t max_rows) {
  std::vector<LogitBlock> blocks;
  int64_t first = 0;  // of the rows that are not in a block yet
  int64_t row = 0;
  for (const LogitSpan& span : spans) {
    const int64_t end = row + span.num_rows;
    if (HasOwnBlocks(span)) {
      Cut(first, row, max_rows, nullptr, blocks);
      Cut(row, end, max_rows, &span, blocks);
      first = end;
    }
    row = end;
  }
  Cut(first, row, max_rows, nullptr, blocks);
  return blocks;
}

}  // namespace lockstep::worker
