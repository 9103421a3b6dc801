#include "server/rpc/generation.h"

#include <utility>

#include "absl/time/clock.h"
#include "server/admission/field_error.h"
#include "server/admission/guide_spec.h"
#include "server/admission/request_ids.h"
#include "server/engine/guided_answer.h"
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
  void OnToken(const worker::v1::SampledToken& token) override {
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
    // gRPC cancels a call whose deadline has passed, and may do so before the engine looks at its
    // clock.
    self->FinishAll(v1::FINISH_REASON_UNSPECIFIED,
                    absl::Now() >= self->times_.deadline
                        ? absl::DeadlineExceededError("the deadline has passed")
                        : absl::CancelledError("the client has gone"));
  });
}

void Generation::FinishAll(v1::FinishReason reason, const absl::Status& status) {
  for (const Sequence& sequence : sequences_) {
    if (!sequence.completion.has_value()) context_.engine.Finish(sequence.handle, reason, status);
  }
}

void Generation::Admit(const grpc::ByteBuffer& bytes) {
  auto request = std::make_shared<v1::GenerateRequest>();
  absl::Status status = EarlyEnd();
  if (status.ok()) status = ParseMessage(bytes, *request);
  // The log has it also where the request is refused.
  if (CheckRequestId(request->request_id()).ok()) record_.request_id = request->request_id();
  if (status.ok()) {
    status = request->has_guide() ? GetGuide(std::move(request)) : Submit(*request, nullptr);
  }
  if (!status.ok()) Fail(std::move(status), Completion{});
}

absl::Status Generation::EarlyEnd() const {
  if (!cancelled_) return absl::OkStatus();
  // gRPC cancels a call whose deadline has passed.
  return absl::Now() >= times_.deadline
             ? absl::DeadlineExceededError("the deadline passed before the request was taken")
             : absl::CancelledError("the client went before its request was taken");
}

absl::Status Generation::GetGuide(std::shared_ptr<const v1::GenerateRequest> request) {
  absl::StatusOr<GuideSpec> spec = ToGuideSpec(request->guide());
  if (!spec.ok()) return spec.status();
  guide_field_ = GuideFieldName(request->guide());
  const auto self = shared_from_this();
  context_.guides.Get(
      *std::move(spec), [self] { return !self->cancelled_; },
      [self, request](auto guide) {
        self->strand_.Post([self, request, guide = std::move(guide)]() mutable {
          absl::Status status = self->TakeGuide(*request, std::move(guide));
          if (!status.ok()) self->Fail(std::move(status), Completion{});
        });
      });
  return absl::OkStatus();
}

absl::Status Generation::TakeGuide(const v1::GenerateRequest& request,
                                   absl::StatusOr<std::shared_ptr<const Guide>> guide) {
  if (absl::Status status = EarlyEnd(); !status.ok()) return status;
  if (!guide.ok()) {
    return WithRetryIfUseful(context_, NameGuideField(guide_field_, guide.status()), 0);
  }
  return Submit(request, *std::move(guide));
}

absl::Status Generation::Submit(const v1::GenerateRequest& request,
                                std::shared_ptr<const Guide> guide) {
  auto admitted = context_.admission.Admit(request, times_, std::move(guide));
  if (!admitted.ok()) return admitted.status();
  lease_ = std::move(admitted->lease);
  const EngineRequest& first = *admitted->requests[0];
  const std::vector<int32_t> prompt = first.prompt;
  record_.request_id = lease_.id();
  record_.num_prompt_tokens = static_cast<int64_t>(prompt.size());
  prompt_report_.emplace(context_.text, admitted->answer.prompt_tokens,
                         first.num_prompt_logprobs.has_value(), prompt);
  sequences_.resize(admitted->requests.size());
  std::vector<Submission> batch;
  for (uint32_t index = 0; index < sequences_.size(); ++index) {
    sequences_[index].seed = admitted->requests[index]->sampling.seed();
    batch.push_back(
        {std::move(admitted->requests[index]), std::make_shared<Sink>(shared_from_this(), index)});
  }
  // The requests are the engine's from here on; the writers are made after it, so that the prompt
  // already runs.
  std::vector<RequestHandle> handles = context_.engine.SubmitBatch(std::move(batch));
  for (std::size_t index = 0; index < handles.size(); ++index) {
    sequences_[index].handle = handles[index];
    sequences_[index].writer.emplace(context_.text, admitted->answer, prompt,
                                     admitted->prompt_text);
  }
  StartTimer(admitted->time_limit, std::move(handles));
  return absl::OkStatus();
}

void Generation::StartTimer(absl::Duration time_limit, std::vector<RequestHandle> handles) {
  if (time_limit == absl::InfiniteDuration()) return;
  timer_.Set(absl::ToChronoTime(times_.arrival + time_limit),
             [weak = weak_from_this(), &engine = context_.engine,
              handles = std::move(handles)](bool expired) {
               // A request that is gone has also left the engine.
               const auto self = expired ? weak.lock() : nullptr;
               if (self == nullptr) return;
               for (const RequestHandle handle : handles)
                 engine.Finish(handle, v1::TIME_LIMIT, absl::OkStatus());
             });
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

void Generation::TakeToken(uint32_t index, const worker::v1::SampledToken& token) {
  if (!failure_.ok()) return;
  if (started_) {
    SendToken(index, token);
  } else {
    sequences_[index].waiting.push_back(token);
  }
}

void Generation::SendToken(uint32_t index, const worker::v1::SampledToken& token) {
  Sequence& sequence = sequences_[index];
  // Steps that were under way when the stop string was found.
  if (sequence.has_stopped()) return;
  v1::Delta delta;
  delta.set_index(index);
  if (sequence.writer->Append(token, delta) && !sequence.completion.has_value())
    context_.engine.Finish(sequence.handle, v1::STOP_STRING, absl::OkStatus());
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
    FinishAll(v1::FINISH_REASON_UNSPECIFIED, failure_);
  }
  if (failure_.ok() && started_) FinishSequence(index);
  if (num_complete_ < sequences_.size()) return;
  timer_.Cancel();
  if (failure_.ok()) {
    // Ended before the prompt had run.
    if (!started_) SendStarted();
    receiver_.OnEnd();
  } else {
    Fail(WithRetryIfUseful(context_, failure_, record_.num_prompt_tokens), completion);
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
  *finished.mutable_timing() = ToTiming(completion, times_.arrival, absl::Now());

  record_.reason = finished.reason();
  record_.num_completion_tokens += num_tokens;
  record_.num_cached_tokens = completion.num_cached_tokens;
  record_.timing = finished.timing();
  if (++num_finished_ == sequences_.size()) {
    LogRequest(record_);
    // The id is free before the client can know that the request has ended.
    lease_ = RequestIdLease();
  }
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
