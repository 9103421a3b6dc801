#include "server/rpc/generate_calls.h"

#include <utility>

#include "server/rpc/call_times.h"
#include "server/rpc/message_codec.h"
#include "server/rpc/status_mapping.h"

namespace lockstep::server {

GenerateStreamCall::GenerateStreamCall(ServiceContext& context, grpc::CallbackServerContext& call,
                                       grpc::ByteBuffer request)
    : open_(context), generation_(std::make_shared<Generation>(context, *this, "GenerateStream")) {
  handoff_.Give();
  generation_->Start(std::move(request), TimesOf(call));
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
}

void GenerateStreamCall::OnEnd() { End(grpc::Status::OK); }

void GenerateStreamCall::OnFailed(const absl::Status& status) { End(ToGrpcStatus(status)); }

void GenerateStreamCall::OnDone() {
  handoff_.Take();
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
  handoff_.Take();
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
  v1::Delta* const mergeable =
      response.has_delta() ? FindMergeable(response.delta().index()) : nullptr;
  if (mergeable == nullptr) {
    waiting_.push_back(std::move(response));
    return;
  }
  v1::Delta& last = *mergeable;
  std::string text = std::move(*last.mutable_text()) + response.delta().text();
  last.MergeFrom(response.delta());
  last.set_text(std::move(text));
}

v1::Delta* GenerateStreamCall::FindMergeable(uint32_t index) {
  for (auto it = waiting_.rbegin(); it != waiting_.rend() && !it->has_started(); ++it) {
    if (!it->has_delta() || it->delta().index() != index) continue;
    const bool has_room = it->delta().token_ids_size() < kMaxDeltaTokens;
    return has_room ? it->mutable_delta() : nullptr;
  }
  return nullptr;
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
      handoff_.Give();
      StartWrite(&message_);
      return;
    case Next::Action::kFinish:
      handoff_.Give();
      Finish(std::move(next.status));
      return;
  }
}

GenerateCall::GenerateCall(ServiceContext& context, grpc::CallbackServerContext& call,
                           grpc::ByteBuffer request, grpc::ByteBuffer& response)
    : open_(context),
      generation_(std::make_shared<Generation>(context, *this, "Generate")),
      response_(response) {
  handoff_.Give();
  generation_->Start(std::move(request), TimesOf(call));
}

void GenerateCall::OnStarted(v1::Started started) {
  answer_.set_request_id(started.request_id());
  answer_.set_num_prompt_tokens(started.num_prompt_tokens());
  answer_.set_num_cached_tokens(started.num_cached_tokens());
  answer_.mutable_prompt_tokens()->Swap(started.mutable_prompt_tokens());
}

v1::GeneratedSequence& GenerateCall::SequenceOf(uint32_t index) {
  for (int next = answer_.sequences_size(); next <= static_cast<int>(index); ++next) {
    v1::GeneratedSequence& sequence = *answer_.add_sequences();
    sequence.set_index(static_cast<uint32_t>(next));
    sequence.set_text("");
  }
  return *answer_.mutable_sequences(static_cast<int>(index));
}

void GenerateCall::OnDelta(v1::Delta delta) {
  v1::GeneratedSequence& sequence = SequenceOf(delta.index());
  sequence.mutable_text()->append(delta.text());
  sequence.mutable_token_ids()->MergeFrom(delta.token_ids());
  sequence.mutable_tokens()->MergeFrom(delta.tokens());
}

void GenerateCall::OnFinished(v1::Finished finished) {
  *SequenceOf(finished.index()).mutable_finished() = std::move(finished);
}

void GenerateCall::OnEnd() {
  response_ = SerializeMessage(answer_);
  handoff_.Give();
  Finish(grpc::Status::OK);
}

void GenerateCall::OnFailed(const absl::Status& status) {
  handoff_.Give();
  Finish(ToGrpcStatus(status));
}

}  // namespace lockstep::server
