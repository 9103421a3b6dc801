// Forward: a batch of prompts through the model, logits back.
#ifndef LOCKSTEP_SERVER_RPC_FORWARD_CALL_H_
#define LOCKSTEP_SERVER_RPC_FORWARD_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>
#include <grpcpp/support/slice.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "lockstep/v1/inference.pb.h"
#include "server/admission/admission.h"
#include "server/engine/output_sink.h"
#include "server/rpc/request_log.h"
#include "server/rpc/service_context.h"
#include "server/sync/executor.h"
#include "server/sync/handoff.h"

namespace lockstep::server {

// Collects the logits of every prompt of one batch. Admitted on the intake's threads, then works on
// a strand; alive until the engine, the intake and the strand have let go of it.
class ForwardBatch : public std::enable_shared_from_this<ForwardBatch> {
 public:
  // Called once with the end: OK and the answer, a ForwardResponse encoded, or an error and
  // nothing.
  using Done = absl::AnyInvocable<void(const absl::Status&, grpc::ByteBuffer)>;

  ForwardBatch(ServiceContext& context, Done done);

  void Start(grpc::ByteBuffer request, const CallTimes& times);
  // The client has gone. After Start; thread-safe.
  void Cancel();

 private:
  class Sink;

  // --- On the intake ---
  void Admit(const grpc::ByteBuffer& bytes);
  absl::StatusOr<AdmittedForward> Check(const grpc::ByteBuffer& bytes);

  // Ends the call soon, wherever it is. Thread-safe.
  void EndEarly(absl::Status status);

  // --- On the strand ---
  absl::Status Submit(AdmittedForward admitted);
  absl::Status ReserveBytes(uint64_t num_bytes);
  void TakeLogits(std::size_t index, const SlotLogits& logits);
  void Complete(std::size_t index, const Completion& completion);
  // Ends the prompts that are still running: the batch has failed or nobody waits for it.
  void Abandon(const absl::Status& status);
  // Only the first time.
  void End(absl::Status status);
  grpc::ByteBuffer TakeAnswer();

  ServiceContext& context_;
  Strand strand_;
  std::atomic<bool> cancelled_{false};
  CallTimes times_;  // from Start on

  // --- Owned by the strand ---
  Done done_;
  bool has_ended_ = false;
  RequestIdLease lease_;
  ByteBudget::Lease logit_bytes_;
  std::vector<RequestHandle> handles_;
  // What a prompt is answered with.
  struct Output {
    int64_t num_rows = 0;
    int64_t num_bytes = 0;
    std::vector<grpc::Slice> rows;  // as they came
  };
  std::vector<Output> outputs_;
  std::size_t num_running_ = 0;
  absl::Status status_;
  // Of the steps that some of the prompts were part of, by number: prompts share steps.
  std::map<uint64_t, absl::Duration> step_times_;
  Completion last_;
  RequestRecord record_;
};

// Deletes itself when gRPC is done with the call.
class ForwardCall final : public grpc::ServerUnaryReactor {
 public:
  // `response` lives as long as the call.
  ForwardCall(ServiceContext& context, grpc::CallbackServerContext& call, grpc::ByteBuffer request,
              grpc::ByteBuffer& response);

  void OnCancel() override {
    handoff_.Take();
    batch_->Cancel();
  }
  void OnDone() override {
    handoff_.Take();
    delete this;
  }

 private:
  const OpenCall open_;
  Handoff handoff_;  // before and after each of gRPC's steps
  const std::shared_ptr<ForwardBatch> batch_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_FORWARD_CALL_H_
