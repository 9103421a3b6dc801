#include "server/rpc/generation.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "process/monotonic_time.h"
#include "server/admission/field_error.h"
#include "server/admission/guide_spec.h"
#include "server/admission/request_ids.h"
#include "server/engine/guided_answer.h"
#include "server/rpc/call_times.h"
#include "server/rpc/message_codec.h"

namespace lockstep::server {

class Generation::Sink final : public OutputSink {
 public:
  Sink(std::shared_ptr<Generation> generation, uint32_t index)
      : generation_(std::move(generation)), index_(index) {}

  void OnScheduled(int32_t num_cached_tokens) override {
    generation_->strand_.Post([generation = generation_, num_cached_tokens] {
      generation->TakeScheduled(num_cached_tokens);
    });
  }
  void OnPromptTokens(std::vector<worker::v1::SampledToken> tokens) override {
    generation_->strand_.Post([generation = generation_, tokens = std::move(tokens)] {
      generation->TakePromptTokens(tokens);
    });
  }
  void OnToken(const TokenEvent& token) override {
    generation_->strand_.Post(
        [generation = generation_, index = index_, token] { generation->TakeToken(index, token); });
  }
  void OnLogits(SlotLogits) override {}
  void OnComplete(const Completion& completion) override {
    generation_->strand_.Post([generation = generation_, index = index_, completion] {
      generation->TakeCompletion(index, completion);
    });
  }

 private:
  const std::shared_ptr<Generation> generation_;
  const uint32_t index_;
};

Generation::Generation(ServiceContext& context, AnswerReceiver& receiver, const char* method)
    : context_(context), receiver_(receiver), strand_(context.delivery) {
  record_.method = method;
}

void Generation::Start(grpc::ByteBuffer request, const CallTimes& times) {
  times_ = times;
  auto lease = ReserveRequest(context_.request_bytes, request.Length());
  if (!lease.ok()) {
    PostFailure(lease.status());
    return;
  }
  Executor& intake = context_.intake.For(request.Length());
  intake.Post([self = shared_from_this(), request = std::move(request),
               lease = *std::move(lease)]() mutable { self->Admit(request, std::move(lease)); });
}

void Generation::Cancel() {
  // Seen by a request that still waits for its turn to be admitted.
  cancelled_ = true;
  strand_.Post([self = shared_from_this(), since = MonotonicNow()] {
    // gRPC cancels a call whose deadline has passed, and may do so before the engine looks at its
    // clock.
    self->EndEarly(MonotonicNow() >= self->times_.deadline
                       ? absl::DeadlineExceededError("the deadline has passed")
                       : absl::CancelledError("the client has gone"),
                   since);
  });
}

void Generation::PostEnd(v1::FinishReason reason) {
  strand_.Post([self = shared_from_this(), reason, since = MonotonicNow()] {
    self->EndEarly(reason, since);
  });
}

void Generation::EndEarly(v1::FinishReason reason, absl::Time since) {
  if (!sequences_.empty()) {
    FinishAll(reason, absl::OkStatus(), since);
  } else if (guide_field_.empty()) {
    early_reason_ = reason;
  } else if (reason == v1::ABORTED) {
    Fail(absl::CancelledError(
             absl::StrCat("ended by Admin.Abort while ", guide_field_, " was compiled")),
         Completion{});
  } else {
    Fail(absl::DeadlineExceededError(
             absl::StrCat("stopping.time_limit_ms: ", absl::ToInt64Milliseconds(time_limit_),
                          " ms passed while ", guide_field_, " was compiled")),
         Completion{});
  }
}

void Generation::EndEarly(absl::Status status, absl::Time since) {
  if (sequences_.empty()) {
    Fail(std::move(status), Completion{});
  } else {
    FinishAll(v1::FINISH_REASON_UNSPECIFIED, status, since);
  }
}

void Generation::FinishAll(v1::FinishReason reason, const absl::Status& status, absl::Time since) {
  for (const Sequence& sequence : sequences_) {
    if (sequence.completion.has_value()) continue;
    context_.engine.Finish(sequence.handle, reason, status, since);
  }
}

void Generation::Admit(const grpc::ByteBuffer& bytes, ByteBudget::Lease lease) {
  if (cancelled_) return;
  // The message lives until the request has been taken in, and the lease with it.
  struct Incoming {
    ByteBudget::Lease lease;
    v1::GenerateRequest message;
  };
  const auto incoming = std::make_shared<Incoming>(Incoming{std::move(lease), {}});
  const std::shared_ptr<v1::GenerateRequest> request(incoming, &incoming->message);
  absl::Status status = ParseMessage(bytes, *request);
  // The log has it also where the request is refused.
  const bool has_id = CheckRequestId(request->request_id()).ok();
  strand_.Post([self = shared_from_this(), id = has_id ? request->request_id() : ""] {
    self->record_.request_id = id;
  });
  // No text is tokenized, and no guide compiled, for a queue without room.
  if (status.ok()) {
    status = WithRetryIfUseful(context_, context_.engine.CheckOpen());
  }
  if (status.ok()) {
    Open(request);
  } else {
    PostFailure(std::move(status));
  }
}

void Generation::Open(std::shared_ptr<const v1::GenerateRequest> request) {
  if (request->has_guide()) guide_field_ = GuideFieldName(request->guide());
  auto lease = context_.admission.Open(*request, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->PostEnd(v1::ABORTED);
  });
  if (!lease.ok()) {
    PostFailure(lease.status());
    return;
  }
  const std::string id = lease->id();
  const absl::Duration time_limit = request->stopping().has_time_limit_ms()
                                        ? absl::Milliseconds(request->stopping().time_limit_ms())
                                        : absl::InfiniteDuration();
  strand_.Post([self = shared_from_this(), lease = *std::move(lease), time_limit]() mutable {
    self->Begin(std::move(lease), time_limit);
  });
  if (request->has_guide()) {
    GetGuide(std::move(request), id);
  } else {
    Encode(*request, id, nullptr);
  }
}

void Generation::PostFailure(absl::Status status) {
  strand_.Post([self = shared_from_this(), status = std::move(status)] {
    self->Fail(status, Completion{});
  });
}

void Generation::GetGuide(std::shared_ptr<const v1::GenerateRequest> request, std::string id) {
  absl::StatusOr<GuideSpec> spec = ToGuideSpec(request->guide());
  if (!spec.ok()) {
    PostFailure(spec.status());
    return;
  }
  const auto self = shared_from_this();
  context_.guides.Get(
      *std::move(spec), [self] { return !self->cancelled_; },
      [self, request, id = std::move(id)](auto guide) {
        if (self->cancelled_) return;
        Executor& intake = self->context_.intake.For(request->ByteSizeLong());
        intake.Post([self, request, id, guide = std::move(guide)]() mutable {
          self->Encode(*request, id, std::move(guide));
        });
      });
}

void Generation::Encode(const v1::GenerateRequest& request, const std::string& id,
                        absl::StatusOr<std::shared_ptr<const Guide>> guide) {
  if (cancelled_) return;
  if (!guide.ok()) {
    PostFailure(WithRetryIfUseful(context_, NameGuideField(guide_field_, guide.status())));
    return;
  }
  auto admitted = context_.admission.Admit(request, times_, id, *std::move(guide));
  if (!admitted.ok()) {
    PostFailure(admitted.status());
    return;
  }
  strand_.Post([self = shared_from_this(), admitted = *std::move(admitted)]() mutable {
    self->Submit(std::move(admitted));
  });
}

void Generation::Begin(RequestIdLease lease, absl::Duration time_limit) {
  if (has_failed_) return;
  lease_ = std::move(lease);
  record_.request_id = lease_.id();
  time_limit_ = time_limit;
  if (time_limit_ < absl::InfiniteDuration()) StartTimer();
}

void Generation::StartTimer() {
  timer_.Set(ToWallClock(times_.arrival + time_limit_), [weak = weak_from_this()](bool expired) {
    const auto self = expired ? weak.lock() : nullptr;
    if (self != nullptr) self->PostEnd(v1::TIME_LIMIT);
  });
}

void Generation::Submit(AdmittedGeneration admitted) {
  if (has_failed_) return;
  const std::vector<int32_t> prompt = admitted.requests[0]->prompt;
  const bool has_prompt_logprobs = admitted.requests[0]->num_prompt_logprobs.has_value();
  record_.num_prompt_tokens = static_cast<int64_t>(prompt.size());
  sequences_.resize(admitted.requests.size());
  std::vector<Submission> batch;
  for (uint32_t index = 0; index < sequences_.size(); ++index) {
    sequences_[index].seed = admitted.requests[index]->sampling.seed();
    batch.push_back(
        {std::move(admitted.requests[index]), std::make_shared<Sink>(shared_from_this(), index)});
  }
  // The requests are the engine's from here on. The report and the writers are made after it, so
  // that the prompt already runs; what the engine says meanwhile waits for the strand.
  const std::vector<RequestHandle> handles = context_.engine.SubmitBatch(std::move(batch));
  prompt_report_.emplace(context_.text, admitted.answer.prompt_tokens, has_prompt_logprobs, prompt);
  const AnswerWriter writer(context_.text, admitted.answer, prompt, admitted.prompt_text);
  for (std::size_t index = 0; index < handles.size(); ++index) {
    sequences_[index].handle = handles[index];
    sequences_[index].writer.emplace(writer);
  }
  if (early_reason_.has_value()) FinishAll(*early_reason_, absl::OkStatus(), MonotonicNow());
}

void Generation::TakeScheduled(int32_t num_cached_tokens) {
  if (scheduled_) return;
  scheduled_ = true;
  // Of the first sequence that runs: what the others find are often the blocks of this one.
  num_cached_tokens_ = num_cached_tokens;
  if (failure_.ok() && prompt_report_->is_complete()) SendStarted();
}

void Generation::TakePromptTokens(absl::Span<const worker::v1::SampledToken> tokens) {
  prompt_report_->Add(tokens);
  if (failure_.ok() && !started_ && prompt_report_->is_complete()) SendStarted();
}

void Generation::SendStarted() {
  started_ = true;
  v1::Started started;
  started.set_request_id(record_.request_id);
  started.set_num_prompt_tokens(static_cast<uint32_t>(record_.num_prompt_tokens));
  started.set_num_cached_tokens(static_cast<uint32_t>(num_cached_tokens_));
  prompt_report_->TakeInto(started);
  receiver_.OnStarted(std::move(started));
  for (uint32_t index = 0; index < sequences_.size(); ++index) {
    Sequence& sequence = sequences_[index];
    if (!sequence.writer->echo().empty()) {
      v1::Delta delta;
      delta.set_index(index);
      delta.set_text(sequence.writer->echo());
      receiver_.OnDelta(std::move(delta));
    }
    for (const auto& token : std::exchange(sequence.waiting, {})) SendToken(index, token);
    if (sequence.completion.has_value()) FinishSequence(index);
  }
}

void Generation::TakeToken(uint32_t index, const TokenEvent& token) {
  if (!failure_.ok()) return;
  if (started_) {
    SendToken(index, token);
  } else {
    sequences_[index].waiting.push_back(token);
  }
}

void Generation::SendToken(uint32_t index, const TokenEvent& token) {
  Sequence& sequence = sequences_[index];
  // Steps that were under way when the stop string was found.
  if (sequence.has_stopped()) return;
  v1::Delta delta;
  delta.set_index(index);
  if (sequence.writer->Append(token, delta) && !sequence.completion.has_value())
    context_.engine.Finish(sequence.handle, v1::STOP_STRING, absl::OkStatus(), MonotonicNow());
  receiver_.OnDelta(std::move(delta));
}

void Generation::TakeCompletion(uint32_t index, const Completion& completion) {
  Sequence& sequence = sequences_[index];
  sequence.completion = completion;
  ++num_complete_;
  const bool has_failed = !completion.status.ok() && !sequence.has_stopped();
  if (has_failed && failure_.ok()) {
    const bool is_guides = completion.status.GetPayload(kGuideErrorUrl).has_value();
    failure_ = is_guides ? NameGuideField(guide_field_, completion.status) : completion.status;
    // The others' answers are worth nothing without this one.
    FinishAll(v1::FINISH_REASON_UNSPECIFIED, failure_, MonotonicNow());
  }
  if (failure_.ok() && started_) FinishSequence(index);
  if (num_complete_ < sequences_.size()) return;
  timer_.Cancel();
  if (failure_.ok()) {
    // Ended before the prompt had run.
    if (!started_) SendStarted();
    receiver_.OnEnd();
  } else {
    Fail(WithRetryIfUseful(context_, failure_), completion);
  }
}

void Generation::FinishSequence(uint32_t index) {
  Sequence& sequence = sequences_[index];
  const Completion& completion = *sequence.completion;
  if (!sequence.has_stopped()) {
    v1::Delta rest;
    rest.set_index(index);
    sequence.writer->Finish(rest);
    if (!rest.text().empty()) receiver_.OnDelta(std::move(rest));
  }
  v1::Finished finished;
  finished.set_index(index);
  finished.set_reason(sequence.has_stopped() ? v1::STOP_STRING : completion.reason);
  if (sequence.has_stopped()) {
    finished.set_stop_string(*sequence.writer->stop_string());
  } else if (completion.stop_token_id.has_value()) {
    finished.set_stop_token_id(static_cast<uint32_t>(*completion.stop_token_id));
  }
  const int32_t num_tokens = sequence.writer->num_tokens();
  finished.mutable_usage()->set_prompt_tokens(static_cast<uint32_t>(record_.num_prompt_tokens));
  finished.mutable_usage()->set_completion_tokens(static_cast<uint32_t>(num_tokens));
  finished.mutable_usage()->set_cached_tokens(static_cast<uint32_t>(completion.num_cached_tokens));
  finished.set_seed(sequence.seed);
  *finished.mutable_timing() = ToTiming(completion, times_.arrival, MonotonicNow());

  record_.reason = finished.reason();
  record_.num_completion_tokens += num_tokens;
  record_.num_cached_tokens = completion.num_cached_tokens;
  record_.timing = finished.timing();
  context_.counter.CountSuccess(finished.reason());
  if (++num_finished_ == sequences_.size()) {
    LogRequest(record_);
    // The id is free before the client can know that the request has ended.
    lease_ = RequestIdLease();
  }
  receiver_.OnFinished(std::move(finished));
}

void Generation::Fail(absl::Status status, const Completion& completion) {
  if (std::exchange(has_failed_, true)) return;
  timer_.Cancel();
  cancelled_ = true;  // what is still done to admit it is in vain
  if (absl::IsInternal(status) && !record_.request_id.empty())
    status = WithRequestId(std::move(status), record_.request_id);
  record_.status = status;
  record_.num_completion_tokens = 0;
  for (const Sequence& sequence : sequences_) {
    if (sequence.completion.has_value())
      record_.num_completion_tokens += sequence.completion->num_completion_tokens;
  }
  record_.num_cached_tokens = completion.num_cached_tokens;
  record_.timing = ToTiming(completion, times_.arrival, MonotonicNow());
  LogRequest(record_);
  context_.counter.CountFailure(status.code());
  lease_ = RequestIdLease();
  receiver_.OnFailed(status);
}

}  // namespace lockstep::server
