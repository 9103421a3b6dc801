#include "server/rpc/admin_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "process/monotonic_time.h"
#include "server/admission/field_error.h"
#include "server/rpc/unary_call.h"

namespace lockstep::server {

AdminService::AdminService(Parts parts) : parts_(std::move(parts)), start_(MonotonicNow()) {
  made_.Give();
}

v1::GetServerInfoResponse AdminService::Describe() const {
  v1::GetServerInfoResponse info;
  info.set_version(LOCKSTEP_VERSION);
  info.set_model(parts_.model_name);
  info.mutable_uptime()->set_seconds(absl::ToInt64Seconds(MonotonicNow() - start_));
  const v1::PoolState state = parts_.pool.State();
  const bool is_draining = parts_.is_draining() && state != v1::POOL_STATE_FAILED;
  info.set_state(is_draining ? v1::POOL_STATE_DRAINING : state);
  for (auto& rank : parts_.pool.Ranks()) *info.add_ranks() = std::move(rank);
  const EngineSnapshot now = parts_.engine.Snapshot();
  info.set_num_running(static_cast<uint32_t>(now.num_running));
  info.set_num_waiting(static_cast<uint32_t>(now.num_waiting));
  info.set_kv_blocks_total(now.kv_blocks_total);
  info.set_kv_blocks_used(now.kv_blocks_used);
  info.set_steps(now.steps);
  info.set_prompt_tokens(now.prompt_tokens);
  info.set_generated_tokens(now.generated_tokens);
  info.set_num_waiting_tokens(now.num_waiting_tokens);
  info.set_preemptions(now.preemptions);
  info.set_prefix_cache_queries(now.prefix_cache_queries);
  info.set_prefix_cache_hits(now.prefix_cache_hits);
  return info;
}

grpc::ServerUnaryReactor* AdminService::GetServerInfo(grpc::CallbackServerContext* call,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  made_.Take();
  return RunUnaryCall<v1::GetServerInfoRequest>(
      parts_.executor, parts_.request_bytes, *call, *request, *response,
      [this](const v1::GetServerInfoRequest&) -> absl::StatusOr<v1::GetServerInfoResponse> {
        return Describe();
      });
}

grpc::ServerUnaryReactor* AdminService::Abort(grpc::CallbackServerContext* call,
                                              const grpc::ByteBuffer* request,
                                              grpc::ByteBuffer* response) {
  made_.Take();
  return RunUnaryCall<v1::AbortRequest>(
      parts_.executor, parts_.request_bytes, *call, *request, *response,
      [this](const v1::AbortRequest& abort) -> absl::StatusOr<v1::AbortResponse> {
        if (abort.request_id().empty())
          return InvalidField("request_id", "is missing; name the request to abort");
        if (parts_.admission.Abort(abort.request_id())) return v1::AbortResponse();
        return absl::NotFoundError(absl::StrCat("no request \"", abort.request_id().substr(0, 200),
                                                "\" is alive; it may have ended already"));
      });
}

grpc::ServerUnaryReactor* AdminService::Drain(grpc::CallbackServerContext* call,
                                              const grpc::ByteBuffer* request,
                                              grpc::ByteBuffer* response) {
  made_.Take();
  return RunUnaryCall<v1::DrainRequest>(
      parts_.executor, parts_.request_bytes, *call, *request, *response,
      [this](const v1::DrainRequest&) -> absl::StatusOr<v1::DrainResponse> {
        parts_.drain();
        const EngineSnapshot now = parts_.engine.Snapshot();
        v1::DrainResponse answer;
        answer.set_num_requests(static_cast<uint32_t>(now.num_running + now.num_waiting));
        return answer;
      });
}

}  // namespace lockstep::server
