#include "server/admission/field_error.h"

#include <google/protobuf/util/time_util.h>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"

namespace lockstep::server {
namespace {

absl::Status WithViolation(absl::StatusCode code, absl::string_view field,
                           absl::string_view problem) {
  google::rpc::BadRequest details;
  auto& violation = *details.add_field_violations();
  violation.set_field(std::string(field));
  violation.set_description(std::string(problem));
  absl::Status status(code, absl::StrCat(field, ": ", problem));
  status.SetPayload(kBadRequestUrl, absl::Cord(details.SerializeAsString()));
  return status;
}

}  // namespace

absl::Status InvalidField(absl::string_view field, absl::string_view problem) {
  return WithViolation(absl::StatusCode::kInvalidArgument, field, problem);
}

absl::Status WithRetryDelay(absl::Status status, absl::Duration delay) {
  google::rpc::RetryInfo details;
  *details.mutable_retry_delay() =
      google::protobuf::util::TimeUtil::NanosecondsToDuration(absl::ToInt64Nanoseconds(delay));
  status.SetPayload(kRetryInfoUrl, absl::Cord(details.SerializeAsString()));
  return status;
}

absl::Status WithRequestId(absl::Status status, const std::string& request_id) {
  google::rpc::ErrorInfo details;
  details.set_reason("INTERNAL");
  details.set_domain("lockstep");
  (*details.mutable_metadata())["request_id"] = request_id;
  status.SetPayload(kErrorInfoUrl, absl::Cord(details.SerializeAsString()));
  return status;
}

}  // namespace lockstep::server
