// The one place where absl::Status becomes grpc::Status.
#ifndef LOCKSTEP_SERVER_RPC_STATUS_MAPPING_H_
#define LOCKSTEP_SERVER_RPC_STATUS_MAPPING_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace lockstep::server {

// Same code and message. Payloads whose key is the type URL of a google.rpc message become the
// details of a google.rpc.Status, which clients find in the trailer grpc-status-details-bin. An
// UNAVAILABLE without RetryInfo gets one: it always passes, on this server or on another. UNKNOWN,
// which only a forgotten case of ours makes, becomes INTERNAL.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_STATUS_MAPPING_H_
