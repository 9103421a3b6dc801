#include "server/metrics/request_metrics.h"

#include "absl/status/status.h"
#include "absl/strings/ascii.h"

namespace lockstep::server {
namespace {

prometheus::Counter& SuccessesBy(prometheus::Family<prometheus::Counter>& family,
                                 v1::FinishReason reason) {
  return family.Add({{"reason", absl::AsciiStrToLower(v1::FinishReason_Name(reason))}});
}

prometheus::Counter& FailuresBy(prometheus::Family<prometheus::Counter>& family,
                                absl::StatusCode code) {
  return family.Add({{"code", absl::StatusCodeToString(code)}});
}

}  // namespace

RequestMetrics::RequestMetrics(prometheus::Registry& registry)
    : successes_(
          prometheus::BuildCounter()
              .Name("lockstep_request_success_total")
              .Help(
                  "Answers that ended as they should, by the reason that their clients were told.")
              .Register(registry)),
      failures_(prometheus::BuildCounter()
                    .Name("lockstep_request_failures_total")
                    .Help("Calls that were refused or ended with an error, by status code.")
                    .Register(registry)) {
  // There from the first scrape on, so that rates have a beginning.
  for (const auto reason :
       {v1::LENGTH, v1::EOS, v1::STOP_STRING, v1::STOP_TOKEN, v1::TIME_LIMIT, v1::ABORTED}) {
    SuccessesBy(successes_, reason);
  }
  for (const auto code : {absl::StatusCode::kCancelled, absl::StatusCode::kDeadlineExceeded,
                          absl::StatusCode::kInternal, absl::StatusCode::kInvalidArgument,
                          absl::StatusCode::kNotFound, absl::StatusCode::kResourceExhausted,
                          absl::StatusCode::kUnavailable}) {
    FailuresBy(failures_, code);
  }
}

void RequestMetrics::CountSuccess(v1::FinishReason reason) {
  SuccessesBy(successes_, reason).Increment();
}

void RequestMetrics::CountFailure(absl::StatusCode code) {
  FailuresBy(failures_, code).Increment();
}

}  // namespace lockstep::server
