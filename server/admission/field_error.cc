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
  violation.set_field(Shortened(field, kMaxFieldBytes));
  violation.set_description(Shortened(problem, kMaxProblemBytes));
  absl::Status status(code, absl::StrCat(violation.field(), ": ", violation.description()));
  status.SetPayload(kBadRequestUrl, absl::Cord(details.SerializeAsString()));
  return status;
}

}  // namespace

std::string Shortened(absl::string_view text, std::size_t max_bytes) {
  if (text.size() <= max_bytes) return std::string(text);
  std::size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return absl::StrCat(text.substr(0, end), "...");
}

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
