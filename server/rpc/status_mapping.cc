#include "server/rpc/status_mapping.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "google/rpc/status.pb.h"
#include "server/admission/field_error.h"

namespace lockstep::server {
namespace {

constexpr absl::Duration kUnavailableRetryDelay = absl::Seconds(1);
// Trailers travel as HTTP/2 headers, which receivers limit to 8 KiB by default.
constexpr std::size_t kMaxMessageBytes = 2048;

std::string ShortMessage(absl::string_view message) {
  if (message.size() <= kMaxMessageBytes) return std::string(message);
  std::size_t end = kMaxMessageBytes;
  while (end > 0 && (static_cast<unsigned char>(message[end]) & 0xC0) == 0x80) --end;
  return std::string(message.substr(0, end)) + "...";
}

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
  details.set_message(ShortMessage(status.message()));
  complete.ForEachPayload([&](absl::string_view type_url, const absl::Cord& payload) {
    auto& any = *details.add_details();
    any.set_type_url(std::string(type_url));
    any.set_value(std::string(payload));
  });
  return grpc::Status(code, details.message(),
                      details.details_size() > 0 ? details.SerializeAsString() : std::string());
}

}  // namespace lockstep::server
