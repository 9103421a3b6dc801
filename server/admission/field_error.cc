#include "server/admission/field_error.h"

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
  const int64_t nanoseconds = absl::ToInt64Nanoseconds(delay);
  details.mutable_retry_delay()->set_seconds(nanoseconds / 1'000'000'000);
  details.mutable_retry_delay()->set_nanos(static_cast<int32_t>(nanoseconds % 1'000'000'000));
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
