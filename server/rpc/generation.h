// One generate request, from its bytes to its last event.
#ifndef LOCKSTEP_SERVER_RPC_GENERATION_H_
#define LOCKSTEP_SERVER_RPC_GENERATION_H_

#include <grpcpp/alarm.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "lockstep/v1/generate.pb.h"
#include "server/admission/admission.h"
#include "server/engine/output_sink.h"
#include "server/rpc/answer_writer.h"
#include "server/rpc/executor.h"
#include "server/rpc/request_log.h"
#include "server/rpc/service_context.h"

namespace lockstep::server {

// Where an answer goes. Calls come one at a time, from threads of the executor: OnStarted once,
// OnDelta any number of times, then either OnFinished or OnFailed, once; nothing touches the
// receiver afterwards.
class AnswerReceiver {
 public:
  virtual ~AnswerReceiver() = default;

  virtual void OnStarted(v1::Started started) = 0;
  virtual void OnDelta(v1::Delta delta) = 0;
  virtual void OnFinished(v1::Finished finished) = 0;
  // Possibly without OnStarted.
  virtual void OnFailed(const absl::Status& status) = 0;
};

// Everything but the constructor's caller's thread and the engine's calls happens on a strand:
// admission, detokenizing, stop strings, the receiver's calls. Alive until the engine and the
// strand have let go of it.
class Generation : public OutputSink, public std::enable_shared_from_this<Generation> {
 public:
  // `method` names the call in the log. The receiver lives until it has been told the end.
  Generation(ServiceContext& context, AnswerReceiver& receiver, const char* method);

  // Once. The receiver is told the end in every case.
  void Start(grpc::ByteBuffer request, const CallTimes& times);

  // The client has gone: ends the request soon. Thread-safe.
  void Cancel();

  void OnScheduled(int32_t num_cached_tokens) override;
  void OnToken(const worker::v1::SampledToken& token) override;
  void OnLogits(worker::v1::SlotLogits logits) override;
  void OnComplete(const Completion& completion) override;

 private:
  // --- On the strand ---
  void Admit(const grpc::ByteBuffer& bytes);
  absl::Status Submit(const v1::GenerateRequest& request);
  void StartTimer(absl::Duration time_limit);
  void SendStarted(int32_t num_cached_tokens);
  void TakeToken(const worker::v1::SampledToken& token);
  void Complete(const Completion& completion);
  void FinishAnswer(const Completion& completion);
  void Fail(absl::Status status, const Completion& completion);
  // The client has the whole answer, whatever the engine still says.
  bool answer_has_ended() const {
    return writer_.has_value() && writer_->stop_string().has_value();
  }

  ServiceContext& context_;
  AnswerReceiver& receiver_;
  Strand strand_;
  std::atomic<bool> cancelled_{false};

  // --- Owned by the strand ---
  CallTimes times_;
  RequestIdLease lease_;
  std::optional<AnswerWriter> writer_;
  std::optional<RequestHandle> handle_;
  grpc::Alarm timer_;
  bool token_details_ = false;
  // With token_details, for OnStarted.
  std::vector<int32_t> prompt_;
  uint64_t seed_ = 0;
  bool started_ = false;
  RequestRecord record_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_GENERATION_H_
