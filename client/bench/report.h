// A benchmark's summaries for people, programs and slides.
#ifndef LOCKSTEP_CLIENT_BENCH_REPORT_H_
#define LOCKSTEP_CLIENT_BENCH_REPORT_H_

#include <string>
#include <vector>

#include "client/bench/summary.h"

namespace lockstep::client {

// One run of a sweep, or the only one.
struct BenchRun {
  std::string name;  // for example "concurrency 16", "4 requests/s"
  Objective objective;
  Summary summary;
};

std::string ReportAsText(const BenchRun& run);

// {"runs": [...]}; durations in seconds. With the indentation of a JSON document of several lines,
// or kOneLine.
inline constexpr int kOneLine = -1;
std::string ReportAsJson(const std::vector<BenchRun>& runs, int indentation);

// An SVG file: the shares of requests and gaps that came within a time, for each run.
std::string DrawLatencies(const std::vector<BenchRun>& runs);

}  // namespace lockstep::client

#endif  // LOCKSTEP_CLIENT_BENCH_REPORT_H_
