// lockstep.v1.Admin.
#ifndef LOCKSTEP_SERVER_RPC_ADMIN_SERVICE_H_
#define LOCKSTEP_SERVER_RPC_ADMIN_SERVICE_H_

#include <atomic>
#include <functional>
#include <string>

#include "absl/time/time.h"
#include "lockstep/v1/admin.grpc.pb.h"
#include "server/admission/admission.h"
#include "server/engine/engine.h"
#include "server/sync/byte_budget.h"
#include "server/sync/executor.h"
#include "server/sync/handoff.h"
#include "server/worker_pool/worker_pool.h"

namespace lockstep::server {

// Every method takes raw bytes: see message_codec.h.
using RawAdmin =
    v1::Admin::WithRawCallbackMethod_GetServerInfo<v1::Admin::WithRawCallbackMethod_Abort<
        v1::Admin::WithRawCallbackMethod_Drain<v1::Admin::Service>>>;

class AdminService final : public RawAdmin {
 public:
  struct Parts {
    const Engine& engine;
    Admission& admission;
    const WorkerPool& pool;
    Executor& executor;
    ByteBudget& request_bytes;
    std::string model_name;
    // What Drain does, and whether that has been done, by a client or because the process is to
    // end.
    std::function<void()> drain;
    std::function<bool()> is_draining;
  };

  explicit AdminService(Parts parts);

  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* call,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Abort(grpc::CallbackServerContext* call,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* call,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;

 private:
  v1::GetServerInfoResponse Describe() const;

  const Parts parts_;
  const absl::Time start_;
  Handoff made_;  // before every call
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_ADMIN_SERVICE_H_
