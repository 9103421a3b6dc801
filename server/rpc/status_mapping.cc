#include "server/rpc/status_mapping.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "google/rpc/status.pb.h"
#include "server/admission/field_error.h"

namespace lockstep::server {
namespace {

constexpr absl::Duration kUnavailableRetryDelay = absl::Seconds(1);
// A little more than a field and what is wrong with it.
constexpr std::size_t kMaxMessageBytes = kMaxFieldBytes + kMaxProblemBytes + 10;

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  absl::Status complete = status;
  if (status.code() == absl::StatusCode::kUnavailable &&
      !status.GetPayload(kRetryInfoUrl).has_value()) {
    complete = WithRetryDelay(status, kUnavailableRetryDelay);
  }
  const auto code = status.code() == absl::StatusCode::kUnknown
                        ? grpc::StatusCode::INTERNAL
                        : static_cast<grpc::StatusCode>(status.raw_code());
  google::rpc::Status details;
  details.set_code(code);
  details.set_message(Shortened(status.message(), kMaxMessageBytes));
  complete.ForEachPayload([&](absl::string_view type_url, const absl::Cord& payload) {
    auto& any = *details.add_details();
    any.set_type_url(std::string(type_url));
    any.set_value(std::string(payload));
  });
  return grpc::Status(code, details.message(),
                      details.details_size() > 0 ? details.SerializeAsString() : std::string());
}

}  // namespace lockstep::server
