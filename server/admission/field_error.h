// Errors about a request, with the machine-readable details that clients get beside the text.
#ifndef LOCKSTEP_SERVER_ADMISSION_FIELD_ERROR_H_
#define LOCKSTEP_SERVER_ADMISSION_FIELD_ERROR_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace lockstep::server {

// Details travel as absl::Status payloads: the key is the type URL of a google.rpc message, the
// value its bytes.
inline constexpr absl::string_view kBadRequestUrl = "type.googleapis.com/google.rpc.BadRequest";
inline constexpr absl::string_view kRetryInfoUrl = "type.googleapis.com/google.rpc.RetryInfo";
inline constexpr absl::string_view kErrorInfoUrl = "type.googleapis.com/google.rpc.ErrorInfo";

// Errors travel as HTTP/2 headers, of which clients take 8 KiB by default, and refuse the call as
// RESOURCE_EXHAUSTED where there are more. The message is there twice, in plain text, a byte
// outside of ASCII as three, and in base64 beside the details. Longer texts than these are cut.
inline constexpr std::size_t kMaxFieldBytes = 150;
inline constexpr std::size_t kMaxProblemBytes = 1000;

// UTF-8 of at most `max_bytes`, which "..." follows where something was cut off.
std::string Shortened(absl::string_view text, std::size_t max_bytes);

// INVALID_ARGUMENT. `field` is the path within the request, for example "sampling.top_p"; `problem`
// says the value, the limit and the likely fix.
absl::Status InvalidField(absl::string_view field, absl::string_view problem);

// `status` with google.rpc.RetryInfo: the same request may succeed after `delay`.
absl::Status WithRetryDelay(absl::Status status, absl::Duration delay);

// `status` with google.rpc.ErrorInfo, naming the request that the log speaks of.
absl::Status WithRequestId(absl::Status status, const std::string& request_id);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ADMISSION_FIELD_ERROR_H_
