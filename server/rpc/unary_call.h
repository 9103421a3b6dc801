// Calls that are one function from request to answer.
#ifndef LOCKSTEP_SERVER_RPC_UNARY_CALL_H_
#define LOCKSTEP_SERVER_RPC_UNARY_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <utility>

#include "absl/status/statusor.h"
#include "server/rpc/intake.h"
#include "server/rpc/message_codec.h"
#include "server/rpc/status_mapping.h"
#include "server/sync/executor.h"

namespace lockstep::server {

// Parses, runs `function` (Request to StatusOr<Response>) and answers, all on the executor, as far
// as the budget has room for the request. A call that is cancelled before its turn costs nothing.
template <typename Request, typename Function>
grpc::ServerUnaryReactor* RunUnaryCall(Executor& executor, ByteBudget& request_bytes,
                                       grpc::CallbackServerContext& call,
                                       const grpc::ByteBuffer& bytes, grpc::ByteBuffer& response,
                                       Function function) {
  grpc::ServerUnaryReactor* reactor = call.DefaultReactor();
  auto lease = ReserveRequest(request_bytes, bytes.Length());
  if (!lease.ok()) {
    reactor->Finish(ToGrpcStatus(lease.status()));
    return reactor;
  }
  // The buffers live until the reactor has finished.
  executor.Post([reactor, &call, &bytes, &response, lease = *std::move(lease),
                 function = std::move(function)]() mutable {
    Request request;
    absl::Status status =
        call.IsCancelled() ? absl::CancelledError("the client has gone") : absl::OkStatus();
    if (status.ok()) status = ParseMessage(bytes, request);
    if (status.ok()) {
      auto answer = function(request);
      if (answer.ok()) response = SerializeMessage(*answer);
      status = answer.status();
    }
    // Before the client can send the next one.
    lease = nullptr;
    reactor->Finish(ToGrpcStatus(status));
  });
  return reactor;
}

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_UNARY_CALL_H_
