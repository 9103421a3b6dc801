// One generate request, from its bytes to its last event.
#ifndef LOCKSTEP_SERVER_RPC_GENERATION_H_
#define LOCKSTEP_SERVER_RPC_GENERATION_H_

#include <grpcpp/alarm.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "lockstep/v1/generate.pb.h"
#include "server/admission/admission.h"
#include "server/rpc/answer_writer.h"
#include "server/rpc/prompt_report.h"
#include "server/rpc/request_log.h"
#include "server/rpc/service_context.h"
#include "server/sync/executor.h"

namespace lockstep::server {

// Where the answers go. Calls come one at a time, from threads of the executor: OnStarted once;
// OnDelta any number of times, and OnFinished once, last, for each sequence; then OnEnd. Or, at any
// point before OnEnd, OnFailed. Nothing touches the receiver after OnEnd or OnFailed.
class AnswerReceiver {
 public:
  virtual ~AnswerReceiver() = default;

  virtual void OnStarted(v1::Started started) = 0;
  virtual void OnDelta(v1::Delta delta) = 0;
  virtual void OnFinished(v1::Finished finished) = 0;
  // Every sequence has finished.
  virtual void OnEnd() = 0;
  virtual void OnFailed(const absl::Status& status) = 0;
};

// Admitted on the intake's threads, beside which the call may end early. From then on everything
// but the engine's calls happens on a strand: detokenizing, stop strings, the receiver's calls. The
// engine has one request per sequence, which share an id; what ends the call ends all of them.
// Alive until the engine, the intake and the strand have let go of it.
class Generation : public std::enable_shared_from_this<Generation> {
 public:
  // `method` names the call in the log. The receiver lives until it has been told the end.
  Generation(ServiceContext& context, AnswerReceiver& receiver, const char* method);

  // Once. The receiver is told the end in every case.
  void Start(grpc::ByteBuffer request, const CallTimes& times);

  // The client has gone: ends the request soon. After Start; thread-safe.
  void Cancel();

 private:
  // What the engine speaks to about one sequence: passes everything on to the strand.
  class Sink;
  struct Sequence {
    RequestHandle handle = 0;
    uint64_t seed = 0;
    std::optional<AnswerWriter> writer;
    // Tokens that came before Started could be sent.
    std::vector<TokenEvent> waiting;
    // When the engine has let go of it.
    std::optional<Completion> completion;

    // The client has the whole answer, whatever the engine still says.
    bool has_stopped() const { return writer->stop_string().has_value(); }
  };

  // --- On the intake, one after the other ---
  void Admit(const grpc::ByteBuffer& bytes, ByteBudget::Lease lease);
  // Takes the request's id.
  void Open(std::shared_ptr<const v1::GenerateRequest> request);
  // Has the guide compiled, and goes on on the intake.
  void GetGuide(std::shared_ptr<const v1::GenerateRequest> request, std::string id);
  // Goes on on the strand.
  void Encode(const v1::GenerateRequest& request, const std::string& id,
              absl::StatusOr<std::shared_ptr<const Guide>> guide);
  void PostFailure(absl::Status status);

  // Ends the answer soon, with what it has. Thread-safe.
  void PostEnd(v1::FinishReason reason);

  // --- On the strand ---
  // These two do nothing where the call has ended meanwhile.
  void Begin(RequestIdLease lease, absl::Duration time_limit);
  void Submit(AdmittedGeneration admitted);
  void StartTimer();
  // Ends the call wherever it is: with a reason once the engine has it or will have it at once,
  // with an error while its guide is compiled. `since`: when what ends it happened.
  void EndEarly(v1::FinishReason reason, absl::Time since);
  void EndEarly(absl::Status status, absl::Time since);
  // Ends all sequences that are alive.
  void FinishAll(v1::FinishReason reason, const absl::Status& status, absl::Time since);
  void TakeScheduled(int32_t num_cached_tokens);
  void TakePromptTokens(absl::Span<const worker::v1::SampledToken> tokens);
  void TakeToken(uint32_t index, const TokenEvent& token);
  void TakeCompletion(uint32_t index, const Completion& completion);
  void SendStarted();
  void SendToken(uint32_t index, const TokenEvent& token);
  void FinishSequence(uint32_t index);
  // Tells the receiver; only the first time.
  void Fail(absl::Status status, const Completion& completion);

  ServiceContext& context_;
  AnswerReceiver& receiver_;
  Strand strand_;
  std::atomic<bool> cancelled_{false};
  CallTimes times_;  // from Start on
  // As the request has it, static; empty without a guide. Written before the id is taken.
  absl::string_view guide_field_;

  // --- Owned by the strand ---
  RequestIdLease lease_;
  // In order of index; empty until the engine has the request.
  std::vector<Sequence> sequences_;
  std::optional<PromptReport> prompt_report_;
  grpc::Alarm timer_;
  absl::Duration time_limit_ = absl::InfiniteDuration();
  // What ended the answer before the engine had the request.
  std::optional<v1::FinishReason> early_reason_;
  int32_t num_cached_tokens_ = 0;
  bool scheduled_ = false;
  bool started_ = false;
  // Sequences that the engine has let go of, and those whose Finished has been sent.
  std::size_t num_complete_ = 0;
  std::size_t num_finished_ = 0;
  // Why the call fails, as soon as one of its sequences has.
  absl::Status failure_;
  bool has_failed_ = false;
  RequestRecord record_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_GENERATION_H_
