#include "client/bench/summary.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/error_report.h"

namespace lockstep::client {
namespace {

constexpr size_t kNumFailureTexts = 5;

double Percentile(const std::vector<double>& sorted, double fraction) {
  const double place = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - static_cast<double>(below));
}

bool Within(const std::optional<double>& limit, double value) { return !limit || value <= *limit; }

void CountFailure(const Measured& request, bool interrupted, Summary& summary) {
  if (request.status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {
    ++summary.refused;
    return;
  }
  if (interrupted && request.status.error_code() == grpc::StatusCode::CANCELLED) {
    ++summary.cancelled;
    return;
  }
  ++summary.failed;
  if (summary.failures.size() < kNumFailureTexts) {
    summary.failures.push_back(request.status.ok()
                                   ? "the stream ended without a finished event"
                                   : absl::StrCat(StatusCodeName(request.status.error_code()), ": ",
                                                  request.status.error_message()));
  }
}

}  // namespace

Distribution Describe(std::vector<double>& values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return {values.size(),
          sum / static_cast<double>(values.size()),
          Percentile(values, 0.5),
          Percentile(values, 0.9),
          Percentile(values, 0.95),
          Percentile(values, 0.99),
          values.back()};
}

absl::StatusOr<Objective> ParseObjective(const std::string& text) {
  Objective objective;
  for (absl::string_view part : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
    const std::vector<std::string> pair = absl::StrSplit(part, absl::MaxSplits(':', 1));
    double milliseconds = 0;
    std::optional<double>* limit = pair[0] == "ttft"   ? &objective.ttft
                                   : pair[0] == "tpot" ? &objective.tpot
                                   : pair[0] == "e2el" ? &objective.e2el
                                                       : nullptr;
    if (limit == nullptr || pair.size() != 2 || !absl::SimpleAtod(pair[1], &milliseconds) ||
        !(milliseconds > 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", part, "\": expected ttft:MS, tpot:MS or e2el:MS, in milliseconds"));
    }
    *limit = milliseconds / 1000;
  }
  return objective;
}

Summary Summarize(const LoadResult& result, const Objective& objective) {
  Summary summary;
  summary.seconds = result.seconds;
  summary.sent = result.requests.size();
  std::vector<double> tpot, e2el;
  for (const Measured& request : result.requests) {
    if (!request.status.ok() || !request.finished || request.output_tokens == 0) {
      CountFailure(request, result.interrupted, summary);
      continue;
    }
    ++summary.completed;
    summary.input_tokens += request.input_tokens;
    summary.output_tokens += request.output_tokens;
    summary.cached_tokens += request.cached_tokens;
    const double ttft = request.first_token - request.intended;
    const double total = request.last_token - request.intended;
    const double per_token =
        request.output_tokens > 1
            ? (request.last_token - request.first_token) / (request.output_tokens - 1)
            : 0;
    summary.ttft_values.push_back(ttft);
    e2el.push_back(total);
    if (request.output_tokens > 1) tpot.push_back(per_token);
    summary.itl_values.insert(summary.itl_values.end(), request.gaps.begin(), request.gaps.end());
    if (Within(objective.ttft, ttft) && Within(objective.tpot, per_token) &&
        Within(objective.e2el, total)) {
      ++summary.good;
    }
  }
  summary.ttft = Describe(summary.ttft_values);
  summary.tpot = Describe(tpot);
  summary.itl = Describe(summary.itl_values);
  summary.e2el = Describe(e2el);
  return summary;
}

}  // namespace lockstep::client
