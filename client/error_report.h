// Errors as a person wants to read them.
#ifndef LOCKSTEP_CLIENT_ERROR_REPORT_H_
#define LOCKSTEP_CLIENT_ERROR_REPORT_H_

#include <string>

#include "absl/strings/string_view.h"
#include "grpcpp/support/status.h"

namespace lockstep::client {

// For example INVALID_ARGUMENT.
absl::string_view StatusCodeName(grpc::StatusCode code);

// One or more lines: the code, the message, each google.rpc detail that came with it, and for a
// server that is not there what to do about it.
std::string DescribeError(const grpc::Status& status, absl::string_view target);

// The same as one JSON document: {"error": {"code", "message", "field_violations",
// "retry_delay_seconds"}}.
std::string DescribeErrorAsJson(const grpc::Status& status);

}  // namespace lockstep::client

#endif  // LOCKSTEP_CLIENT_ERROR_REPORT_H_
