// What a benchmark's measurements say.
#ifndef LOCKSTEP_CLIENT_BENCH_SUMMARY_H_
#define LOCKSTEP_CLIENT_BENCH_SUMMARY_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/bench/load.h"

namespace lockstep::client {

struct Distribution {
  size_t count = 0;
  double mean = 0, p50 = 0, p90 = 0, p95 = 0, p99 = 0, max = 0;
};

// Percentiles by linear interpolation between the closest ranks, as numpy's default. Reorders
// `values`; all zero for none.
Distribution Describe(std::vector<double>& values);

// What a request must keep to count as good; seconds, absent: anything.
struct Objective {
  std::optional<double> ttft, tpot, e2el;
  bool empty() const { return !ttft && !tpot && !e2el; }
};
// "ttft:500,tpot:50,e2el:10000", in milliseconds. INVALID_ARGUMENT naming the part that is wrong.
absl::StatusOr<Objective> ParseObjective(const std::string& text);

struct Summary {
  double seconds = 0;
  size_t sent = 0, completed = 0;
  size_t refused = 0;    // RESOURCE_EXHAUSTED: the server said no
  size_t cancelled = 0;  // by the interrupt
  size_t failed = 0;     // anything else that is not a whole answer
  size_t good = 0;       // completed within the objective
  uint64_t input_tokens = 0, output_tokens = 0, cached_tokens = 0;  // of completed requests
  // Seconds; of completed requests.
  Distribution ttft;                  // time to first token
  Distribution tpot;                  // mean time per output token after the first, per request
  Distribution itl;                   // inter-token latency, each gap
  Distribution e2el;                  // end-to-end latency
  std::vector<std::string> failures;  // the first few, as texts
  // Sorted values for charts.
  std::vector<double> ttft_values, itl_values;
};

Summary Summarize(const LoadResult& result, const Objective& objective);

}  // namespace lockstep::client

#endif  // LOCKSTEP_CLIENT_BENCH_SUMMARY_H_
