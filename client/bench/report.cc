#include "client/bench/report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

namespace lockstep::client {
namespace {

using Json = nlohmann::ordered_json;

double PerSecond(double count, const Summary& summary) {
  return summary.seconds > 0 ? count / summary.seconds : 0;
}

Json ToJson(const Distribution& values) {
  return {{"count", values.count}, {"mean", values.mean}, {"p50", values.p50}, {"p90", values.p90},
          {"p95", values.p95},     {"p99", values.p99},   {"max", values.max}};
}

Json ToJson(const BenchRun& run) {
  const Summary& summary = run.summary;
  Json json = {
      {"name", run.name},
      {"duration_seconds", summary.seconds},
      {"requests",
       {{"sent", summary.sent},
        {"completed", summary.completed},
        {"refused", summary.refused},
        {"failed", summary.failed},
        {"cancelled", summary.cancelled}}},
      {"input_tokens", summary.input_tokens},
      {"output_tokens", summary.output_tokens},
      {"cached_tokens", summary.cached_tokens},
      {"requests_per_second", PerSecond(static_cast<double>(summary.completed), summary)},
      {"input_tokens_per_second", PerSecond(static_cast<double>(summary.input_tokens), summary)},
      {"output_tokens_per_second", PerSecond(static_cast<double>(summary.output_tokens), summary)},
      {"ttft_seconds", ToJson(summary.ttft)},
      {"tpot_seconds", ToJson(summary.tpot)},
      {"itl_seconds", ToJson(summary.itl)},
      {"e2el_seconds", ToJson(summary.e2el)},
      {"failures", summary.failures}};
  if (!run.objective.empty()) {
    json["good_requests"] = summary.good;
    json["goodput_requests_per_second"] = PerSecond(static_cast<double>(summary.good), summary);
  }
  return json;
}

std::string Line(const char* name, const Distribution& values) {
  return absl::StrFormat("%-24s %9.1f %9.1f %9.1f %9.1f %9.1f %9.1f\n", name, 1e3 * values.mean,
                         1e3 * values.p50, 1e3 * values.p90, 1e3 * values.p95, 1e3 * values.p99,
                         1e3 * values.max);
}

}  // namespace

std::string ReportAsText(const BenchRun& run) {
  const Summary& summary = run.summary;
  std::string text = absl::StrFormat(
      "%s: %d of %d requests completed in %.2f s; %d refused, %d failed, %d cancelled\n", run.name,
      summary.completed, summary.sent, summary.seconds, summary.refused, summary.failed,
      summary.cancelled);
  for (const std::string& failure : summary.failures) {
    absl::StrAppend(&text, "  failed: ", failure, "\n");
  }
  absl::StrAppendFormat(
      &text, "throughput               %.2f requests/s, %.1f tokens/s out, %.1f tokens/s in\n",
      PerSecond(static_cast<double>(summary.completed), summary),
      PerSecond(static_cast<double>(summary.output_tokens), summary),
      PerSecond(static_cast<double>(summary.input_tokens), summary));
  if (!run.objective.empty()) {
    absl::StrAppendFormat(&text,
                          "goodput                  %.2f requests/s within the objective (%d)\n",
                          PerSecond(static_cast<double>(summary.good), summary), summary.good);
  }
  absl::StrAppendFormat(&text, "%-24s %9s %9s %9s %9s %9s %9s\n", "milliseconds", "mean", "p50",
                        "p90", "p95", "p99", "max");
  return text + Line("time to first token", summary.ttft) +
         Line("time per output token", summary.tpot) + Line("inter-token latency", summary.itl) +
         Line("end-to-end latency", summary.e2el);
}

std::string ReportAsJson(const std::vector<BenchRun>& runs, int indentation) {
  Json json = {{"runs", Json::array()}};
  for (const BenchRun& run : runs) json["runs"].push_back(ToJson(run));
  // A trace's name need not be UTF-8.
  return json.dump(indentation, ' ', false, Json::error_handler_t::replace);
}

}  // namespace lockstep::client
