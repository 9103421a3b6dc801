// The two ways in which clients take answers: as they come, and whole.
#ifndef LOCKSTEP_SERVER_RPC_GENERATE_CALLS_H_
#define LOCKSTEP_SERVER_RPC_GENERATE_CALLS_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <deque>
#include <memory>

#include "lockstep/v1/generate.pb.h"
#include "server/rpc/generation.h"
#include "server/rpc/service_context.h"
#include "server/sync/handoff.h"
#include "server/sync/mutex.h"

namespace lockstep::server {

// GenerateStream. Deletes itself when gRPC is done with the call.
//
// gRPC takes one message at a time; what comes meanwhile waits here. A client that reads slowly
// gets several tokens of a sequence in one delta, so what waits is bounded by the answers, not by
// the number of messages.
class GenerateStreamCall final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                                 public AnswerReceiver {
 public:
  // Tokens in one delta, so that no message grows beyond what clients accept (4 MiB by default).
  static constexpr int kMaxDeltaTokens = 1024;

  GenerateStreamCall(ServiceContext& context, grpc::CallbackServerContext& call,
                     grpc::ByteBuffer request);

  void OnWriteDone(bool ok) override;
  void OnCancel() override {
    handoff_.Take();
    generation_->Cancel();
  }
  void OnDone() override;

  void OnStarted(v1::Started started) override;
  void OnDelta(v1::Delta delta) override;
  void OnFinished(v1::Finished finished) override;
  void OnEnd() override;
  void OnFailed(const absl::Status& status) override;

 private:
  // What to ask of gRPC, decided under the lock and done without it.
  struct Next {
    enum class Action { kNothing, kWrite, kFinish };
    Action action = Action::kNothing;
    v1::GenerateStreamResponse response;
    grpc::Status status;
  };

  void Push(v1::GenerateStreamResponse response);
  void End(grpc::Status status);
  void Append(v1::GenerateStreamResponse response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The delta that waits, is the last of this sequence and has room for more tokens; else null.
  // Another sequence's messages may come before it or after it alike.
  v1::Delta* FindMergeable(uint32_t index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The next write, or the end, if it is time.
  Next TakeNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // With kNothing this object may be gone already, with the others it may be gone afterwards:
  // whoever lets go of the lock touches nothing any more but through Do.
  void Do(Next next);

  const OpenCall open_;
  const std::shared_ptr<Generation> generation_;
  // Before and after each of gRPC's steps.
  Handoff handoff_;
  // Of the write under way.
  grpc::ByteBuffer message_;

  Mutex mutex_;
  std::deque<v1::GenerateStreamResponse> waiting_ ABSL_GUARDED_BY(mutex_);
  // Also once the call has been finished: nobody may ask gRPC for anything any more.
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  // A write failed: the client has gone, and what follows is dropped.
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  // The answer's end, when it is known.
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::Status status_ ABSL_GUARDED_BY(mutex_);
};

// Generate. Deletes itself when gRPC is done with the call.
class GenerateCall final : public grpc::ServerUnaryReactor, public AnswerReceiver {
 public:
  // `response` lives as long as the call.
  GenerateCall(ServiceContext& context, grpc::CallbackServerContext& call, grpc::ByteBuffer request,
               grpc::ByteBuffer& response);

  void OnCancel() override {
    handoff_.Take();
    generation_->Cancel();
  }
  void OnDone() override {
    handoff_.Take();
    delete this;
  }

  void OnStarted(v1::Started started) override;
  void OnDelta(v1::Delta delta) override;
  void OnFinished(v1::Finished finished) override;
  void OnEnd() override;
  void OnFailed(const absl::Status& status) override;

 private:
  // Made when it is first spoken of; those before it too.
  v1::GeneratedSequence& SequenceOf(uint32_t index);

  const OpenCall open_;
  const std::shared_ptr<Generation> generation_;
  Handoff handoff_;
  grpc::ByteBuffer& response_;
  v1::GenerateResponse answer_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_GENERATE_CALLS_H_
