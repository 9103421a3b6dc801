#include "server/rpc/generation.h"

#include <utility>

#include "absl/time/clock.h"
#include "server/admission/field_error.h"
#include "server/rpc/message_codec.h"

namespace lockstep::server {

Generation::Generation(ServiceContext& context, AnswerReceiver& receiver, const char* method)
    : context_(context), receiver_(receiver), strand_(context.executor) {
  record_.method = method;
}

void Generation::Start(grpc::ByteBuffer request, const CallTimes& times) {
  strand_.Post([self = shared_from_this(), request = std::move(request), times] {
    self->times_ = times;
    self->Admit(request);
  });
}

void Generation::Cancel() {
  // Seen by a request that still waits for the executor; one that the engine has is ended there.
  cancelled_ = true;
  strand_.Post([self = shared_from_this()] {
    if (!self->handle_.has_value()) return;
    // gRPC cancels a call whose deadline has passed, and may do so before the engine looks at its
    // clock.
    self->context_.engine.Finish(*self->handle_, v1::FINISH_REASON_UNSPECIFIED,
                                 absl::Now() >= self->times_.deadline
                                     ? absl::DeadlineExceededError("the deadline has passed")
                                     : absl::CancelledError("the client has gone"));
  });
}

void Generation::OnScheduled(int32_t num_cached_tokens) {
  strand_.Post(
      [self = shared_from_this(), num_cached_tokens] { self->SendStarted(num_cached_tokens); });
}

void Generation::OnToken(const worker::v1::SampledToken& token) {
  strand_.Post([self = shared_from_this(), token] { self->TakeToken(token); });
}

void Generation::OnLogits(worker::v1::SlotLogits) {}

void Generation::OnComplete(const Completion& completion) {
  strand_.Post([self = shared_from_this(), completion] { self->Complete(completion); });
}

void Generation::Admit(const grpc::ByteBuffer& bytes) {
  v1::GenerateRequest request;
  absl::Status status =
      cancelled_ ? absl::CancelledError("the client went before its request was looked at")
                 : absl::OkStatus();
  if (status.ok()) status = ParseMessage(bytes, request);
  if (status.ok()) status = Submit(request);
  if (!status.ok()) Fail(std::move(status), Completion{});
}

absl::Status Generation::Submit(const v1::GenerateRequest& request) {
  auto admitted = context_.admission.Admit(request, times_);
  if (!admitted.ok()) return admitted.status();
  lease_ = std::move(admitted->lease);
  record_.request_id = lease_.id();
  record_.num_prompt_tokens = static_cast<int64_t>(admitted->request->prompt.size());
  seed_ = admitted->request->sampling.seed();
  token_details_ = admitted->answer.token_details;
  // The request is the engine's from here on; the writer is made after it, so that the prompt
  // already runs.
  std::vector<int32_t> prompt = admitted->request->prompt;
  handle_ = context_.engine.Submit(std::move(admitted->request), shared_from_this());
  StartTimer(admitted->time_limit);
  writer_.emplace(context_.text, std::move(admitted->answer), prompt, admitted->prompt_text);
  if (token_details_) prompt_ = std::move(prompt);
  return absl::OkStatus();
}

void Generation::StartTimer(absl::Duration time_limit) {
  if (time_limit == absl::InfiniteDuration()) return;
  timer_.Set(absl::ToChronoTime(times_.arrival + time_limit),
             [weak = weak_from_this(), &engine = context_.engine, handle = *handle_](bool expired) {
               // A request that is gone has also left the engine.
               const auto self = expired ? weak.lock() : nullptr;
               if (self != nullptr) engine.Finish(handle, v1::TIME_LIMIT, absl::OkStatus());
             });
}

void Generation::SendStarted(int32_t num_cached_tokens) {
  started_ = true;
  v1::Started started;
  started.set_request_id(record_.request_id);
  started.set_num_prompt_tokens(static_cast<uint32_t>(record_.num_prompt_tokens));
  started.set_num_cached_tokens(static_cast<uint32_t>(num_cached_tokens));
  for (int32_t id : prompt_) {
    auto& token = *started.add_prompt_tokens();
    token.set_id(static_cast<uint32_t>(id));
    token.set_bytes(context_.text.TokenBytes(id));
  }
  receiver_.OnStarted(std::move(started));
  if (writer_->echo().empty()) return;
  v1::Delta delta;
  delta.set_index(0);
  delta.set_text(writer_->echo());
  receiver_.OnDelta(std::move(delta));
}

void Generation::TakeToken(const worker::v1::SampledToken& token) {
  // Steps that were under way when the stop string was found.
  if (answer_has_ended()) return;
  v1::Delta delta;
  delta.set_index(0);
  if (writer_->Append(token, delta))
    context_.engine.Finish(*handle_, v1::STOP_STRING, absl::OkStatus());
  receiver_.OnDelta(std::move(delta));
}

void Generation::Complete(const Completion& completion) {
  timer_.Cancel();
  if (!completion.status.ok() && !answer_has_ended()) {
    Fail(WithRetryIfUseful(context_, completion.status, record_.num_prompt_tokens), completion);
  } else {
    FinishAnswer(completion);
  }
}

void Generation::FinishAnswer(const Completion& completion) {
  if (!started_) SendStarted(completion.num_cached_tokens);
  if (!answer_has_ended()) {
    v1::Delta rest;
    rest.set_index(0);
    writer_->Finish(rest);
    if (!rest.text().empty()) receiver_.OnDelta(std::move(rest));
  }
  v1::Finished finished;
  finished.set_index(0);
  finished.set_reason(answer_has_ended() ? v1::STOP_STRING : completion.reason);
  if (answer_has_ended()) {
    finished.set_stop_string(*writer_->stop_string());
  } else if (completion.stop_token_id.has_value()) {
    finished.set_stop_token_id(static_cast<uint32_t>(*completion.stop_token_id));
  }
  finished.mutable_usage()->set_prompt_tokens(static_cast<uint32_t>(record_.num_prompt_tokens));
  finished.mutable_usage()->set_completion_tokens(static_cast<uint32_t>(writer_->num_tokens()));
  finished.mutable_usage()->set_cached_tokens(static_cast<uint32_t>(completion.num_cached_tokens));
  finished.set_seed(seed_);
  *finished.mutable_timing() = ToTiming(completion, times_.arrival, absl::Now());

  record_.reason = finished.reason();
  record_.num_completion_tokens = writer_->num_tokens();
  record_.num_cached_tokens = completion.num_cached_tokens;
  record_.timing = finished.timing();
  LogRequest(record_);
  // The id is free before the client can know that the request has ended.
  lease_ = RequestIdLease();
  receiver_.OnFinished(std::move(finished));
}

void Generation::Fail(absl::Status status, const Completion& completion) {
  if (absl::IsInternal(status) && !record_.request_id.empty())
    status = WithRequestId(std::move(status), record_.request_id);
  record_.status = status;
  record_.num_completion_tokens = completion.num_completion_tokens;
  record_.num_cached_tokens = completion.num_cached_tokens;
  record_.timing = ToTiming(completion, times_.arrival, absl::Now());
  LogRequest(record_);
  lease_ = RequestIdLease();
  receiver_.OnFailed(status);
}

}  // namespace lockstep::server
