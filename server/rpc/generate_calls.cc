#include "server/rpc/generate_calls.h"

#include <utility>

#include "server/rpc/call_times.h"
#include "server/rpc/message_codec.h"
#include "server/rpc/status_mapping.h"

namespace lockstep::server {

GenerateStreamCall::GenerateStreamCall(ServiceContext& context, grpc::CallbackServerContext& call,
                                       const grpc::ByteBuffer& request)
    : generation_(std::make_shared<Generation>(context, *this, "GenerateStream")) {
  generation_->Start(request, TimesOf(call));
}

void GenerateStreamCall::OnStarted(v1::Started started) {
  v1::GenerateStreamResponse response;
  *response.mutable_started() = std::move(started);
  Push(std::move(response));
}

void GenerateStreamCall::OnDelta(v1::Delta delta) {
  v1::GenerateStreamResponse response;
  *response.mutable_delta() = std::move(delta);
  Push(std::move(response));
}

void GenerateStreamCall::OnFinished(v1::Finished finished) {
  v1::GenerateStreamResponse response;
  *response.mutable_finished() = std::move(finished);
  Push(std::move(response));
  End(grpc::Status::OK);
}

void GenerateStreamCall::OnFailed(const absl::Status& status) { End(ToGrpcStatus(status)); }

void GenerateStreamCall::OnDone() {
  // gRPC orders this after everything else; the lock shows that to whoever cannot see into gRPC.
  {
    MutexLock lock(mutex_);
  }
  delete this;
}

void GenerateStreamCall::Push(v1::GenerateStreamResponse response) {
  Next next;
  {
    MutexLock lock(mutex_);
    if (!broken_) Append(std::move(response));
    next = TakeNext();
  }
  Do(std::move(next));
}

void GenerateStreamCall::End(grpc::Status status) {
  Next next;
  {
    MutexLock lock(mutex_);
    ended_ = true;
    status_ = std::move(status);
    next = TakeNext();
  }
  Do(std::move(next));
}

void GenerateStreamCall::OnWriteDone(bool ok) {
  Next next;
  {
    MutexLock lock(mutex_);
    writing_ = false;
    if (!ok) {
      broken_ = true;
      waiting_.clear();
    }
    next = TakeNext();
  }
  Do(std::move(next));
}

void GenerateStreamCall::Append(v1::GenerateStreamResponse response) {
  const bool merge = response.has_delta() && !waiting_.empty() && waiting_.back().has_delta() &&
                     waiting_.back().delta().token_ids_size() < kMaxDeltaTokens;
  if (!merge) {
    waiting_.push_back(std::move(response));
    return;
  }
  v1::Delta& last = *waiting_.back().mutable_delta();
  std::string text = std::move(*last.mutable_text()) + response.delta().text();
  last.MergeFrom(response.delta());
  last.set_text(std::move(text));
}

GenerateStreamCall::Next GenerateStreamCall::TakeNext() {
  Next next;
  if (writing_) return next;
  if (!waiting_.empty()) {
    next.action = Next::Action::kWrite;
    next.response = std::move(waiting_.front());
    waiting_.pop_front();
  } else if (ended_) {
    next.action = Next::Action::kFinish;
    next.status = status_;
  }
  writing_ = next.action != Next::Action::kNothing;
  return next;
}

void GenerateStreamCall::Do(Next next) {
  switch (next.action) {
    case Next::Action::kNothing:
      return;
    case Next::Action::kWrite:
      message_ = SerializeMessage(next.response);
      StartWrite(&message_);
      return;
    case Next::Action::kFinish:
      Finish(std::move(next.status));
      return;
  }
}

GenerateCall::GenerateCall(ServiceContext& context, grpc::CallbackServerContext& call,
                           const grpc::ByteBuffer& request, grpc::ByteBuffer& response)
    : generation_(std::make_shared<Generation>(context, *this, "Generate")), response_(response) {
  generation_->Start(request, TimesOf(call));
}

void GenerateCall::OnStarted(v1::Started started) {
  answer_.set_request_id(started.request_id());
  answer_.set_num_prompt_tokens(started.num_prompt_tokens());
  answer_.set_num_cached_tokens(started.num_cached_tokens());
  answer_.mutable_prompt_tokens()->Swap(started.mutable_prompt_tokens());
  answer_.add_sequences()->set_index(0);
  answer_.mutable_sequences(0)->set_text("");
}

void GenerateCall::OnDelta(v1::Delta delta) {
  v1::GeneratedSequence& sequence = *answer_.mutable_sequences(0);
  sequence.mutable_text()->append(delta.text());
  sequence.mutable_token_ids()->MergeFrom(delta.token_ids());
  sequence.mutable_tokens()->MergeFrom(delta.tokens());
}

void GenerateCall::OnFinished(v1::Finished finished) {
  *answer_.mutable_sequences(0)->mutable_finished() = std::move(finished);
  response_ = SerializeMessage(answer_);
  Finish(grpc::Status::OK);
}

void GenerateCall::OnFailed(const absl::Status& status) { Finish(ToGrpcStatus(status)); }

}  // namespace lockstep::server
