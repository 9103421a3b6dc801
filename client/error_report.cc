#include "client/error_report.h"

#include <array>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "nlohmann/json.hpp"

namespace lockstep::client {
namespace {

// The details that Lockstep attaches (docs/OPERATIONS.md, Error codes).
struct Details {
  google::rpc::BadRequest bad_request;
  google::rpc::RetryInfo retry_info;
  google::rpc::ErrorInfo error_info;
};

Details ParseDetails(const grpc::Status& status) {
  Details details;
  google::rpc::Status rich;
  if (!rich.ParseFromString(status.error_details())) return details;
  for (const google::protobuf::Any& any : rich.details()) {
    // Each fails, and leaves its message empty, on a type that it is not.
    if (any.UnpackTo(&details.bad_request)) continue;
    if (any.UnpackTo(&details.retry_info)) continue;
    any.UnpackTo(&details.error_info);
  }
  return details;
}

double RetryDelaySeconds(const Details& details) {
  const auto& delay = details.retry_info.retry_delay();
  return static_cast<double>(delay.seconds()) + delay.nanos() * 1e-9;
}

bool NobodyListens(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE &&
         (absl::StrContains(status.error_message(), "failed to connect") ||
          absl::StrContains(status.error_message(), "Connection refused") ||
          absl::StrContains(status.error_message(), "DNS resolution failed") ||
          absl::StrContains(status.error_message(), "No such file or directory"));
}

// What gRPC, or the system below it, says of a peer that does not even confirm what it is sent.
bool HasGoneSilent(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE &&
         (absl::StrContains(status.error_message(), "keepalive watchdog timeout") ||
          absl::StrContains(status.error_message(), "Connection timed out"));
}

}  // namespace

absl::string_view StatusCodeName(grpc::StatusCode code) {
  static constexpr std::array<absl::string_view, 17> kNames = {"OK",
                                                               "CANCELLED",
                                                               "UNKNOWN",
                                                               "INVALID_ARGUMENT",
                                                               "DEADLINE_EXCEEDED",
                                                               "NOT_FOUND",
                                                               "ALREADY_EXISTS",
                                                               "PERMISSION_DENIED",
                                                               "RESOURCE_EXHAUSTED",
                                                               "FAILED_PRECONDITION",
                                                               "ABORTED",
                                                               "OUT_OF_RANGE",
                                                               "UNIMPLEMENTED",
                                                               "INTERNAL",
                                                               "UNAVAILABLE",
                                                               "DATA_LOSS",
                                                               "UNAUTHENTICATED"};
  const auto index = static_cast<size_t>(code);
  return index < kNames.size() ? kNames[index] : "UNKNOWN";
}

std::string DescribeError(const grpc::Status& status, absl::string_view target) {
  if (NobodyListens(status)) {
    return absl::StrCat("error: no Lockstep server answers at ", target,
                        "\n  start one:      lockstep-server --model DIR",
                        "\n  name another:   lockstep --target HOST:PORT …  (or LOCKSTEP_TARGET)",
                        "\n  wait for it:    lockstep --wait 60 …\n");
  }
  if (HasGoneSilent(status)) {
    return absl::StrCat("error: the server at ", target, " does not answer any more (",
                        status.error_message(), ")",
                        "\n  its machine, or the way to it, is gone or stands still; is it back?   "
                        "lockstep --target ",
                        target, " status\n");
  }
  std::string text = absl::StrCat("error: ", StatusCodeName(status.error_code()), ": ",
                                  status.error_message(), "\n");
  const Details details = ParseDetails(status);
  for (const auto& violation : details.bad_request.field_violations()) {
    // The message often is the only violation's own words: say them once.
    if (absl::StrContains(status.error_message(), violation.description())) continue;
    absl::StrAppend(&text, "  ", violation.field(), ": ", violation.description(), "\n");
  }
  if (details.retry_info.has_retry_delay()) {
    absl::StrAppend(&text, "  try again in ", RetryDelaySeconds(details), " s\n");
  }
  for (const auto& [key, value] : details.error_info.metadata())
    absl::StrAppend(&text, "  ", key, ": ", value, "\n");
  return text;
}

std::string DescribeErrorAsJson(const grpc::Status& status) {
  const Details details = ParseDetails(status);
  nlohmann::json error = {{"code", std::string(StatusCodeName(status.error_code()))},
                          {"message", status.error_message()}};
  for (const auto& violation : details.bad_request.field_violations()) {
    error["field_violations"].push_back(
        {{"field", violation.field()}, {"description", violation.description()}});
  }
  if (details.retry_info.has_retry_delay())
    error["retry_delay_seconds"] = RetryDelaySeconds(details);
  for (const auto& [key, value] : details.error_info.metadata()) error["metadata"][key] = value;
  return nlohmann::json{{"error", error}}.dump(-1, ' ', false,
                                               nlohmann::json::error_handler_t::replace);
}

}  // namespace lockstep::client
