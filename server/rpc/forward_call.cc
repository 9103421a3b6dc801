#include "server/rpc/forward_call.h"

#include <google/protobuf/util/time_util.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "process/monotonic_time.h"
#include "proto/wire_message.h"
#include "server/admission/field_error.h"
#include "server/rpc/call_times.h"
#include "server/rpc/message_codec.h"
#include "server/rpc/status_mapping.h"

namespace lockstep::server {
namespace {

constexpr absl::Duration kRetryDelay = absl::Seconds(1);

}  // namespace

// The engine's view of one prompt.
class ForwardBatch::Sink : public OutputSink {
 public:
  Sink(std::shared_ptr<ForwardBatch> batch, std::size_t index)
      : batch_(std::move(batch)), index_(index) {}

  void OnScheduled(int32_t) override {}
  void OnToken(const TokenEvent&) override {}
  void OnLogits(SlotLogits logits) override {
    batch_->strand_.Post([batch = batch_, index = index_, logits = std::move(logits)] {
      batch->TakeLogits(index, logits);
    });
  }
  void OnComplete(const Completion& completion) override {
    batch_->strand_.Post(
        [batch = batch_, index = index_, completion] { batch->Complete(index, completion); });
  }

 private:
  const std::shared_ptr<ForwardBatch> batch_;
  const std::size_t index_;
};

ForwardBatch::ForwardBatch(ServiceContext& context, Done done)
    : context_(context), strand_(context.delivery), done_(std::move(done)) {
  record_.method = "Forward";
}

void ForwardBatch::Start(grpc::ByteBuffer request, const CallTimes& times) {
  times_ = times;
  auto lease = ReserveRequest(context_.request_bytes, request.Length());
  if (!lease.ok()) {
    EndEarly(lease.status());
    return;
  }
  Executor& intake = context_.intake.For(request.Length());
  intake.Post([self = shared_from_this(), lease = *std::move(lease), request = std::move(request)] {
    self->Admit(request);
  });
}

void ForwardBatch::Cancel() {
  EndEarly(MonotonicNow() >= times_.deadline
               ? absl::DeadlineExceededError("the deadline has passed")
               : absl::CancelledError("the client has gone"));
}

void ForwardBatch::EndEarly(absl::Status status) {
  cancelled_ = true;
  strand_.Post([self = shared_from_this(), status = std::move(status)]() mutable {
    if (self->outputs_.empty()) {
      self->End(std::move(status));
    } else {
      self->Abandon(status);
    }
  });
}

void ForwardBatch::Admit(const grpc::ByteBuffer& bytes) {
  if (cancelled_) return;
  auto admitted = Check(bytes);
  strand_.Post([self = shared_from_this(), admitted = std::move(admitted)]() mutable {
    if (self->has_ended_) return;
    absl::Status status = admitted.ok() ? self->Submit(*std::move(admitted)) : admitted.status();
    if (!status.ok()) self->End(std::move(status));
  });
}

absl::StatusOr<AdmittedForward> ForwardBatch::Check(const grpc::ByteBuffer& bytes) {
  v1::ForwardRequest request;
  absl::Status status = ParseMessage(bytes, request);
  // Nothing is done for a queue without room.
  if (status.ok()) {
    status = WithRetryIfUseful(context_, context_.engine.CheckOpen());
  }
  if (!status.ok()) return status;
  return context_.admission.Admit(request, times_, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self != nullptr) self->EndEarly(absl::CancelledError("ended by Admin.Abort"));
  });
}

absl::Status ForwardBatch::Submit(AdmittedForward admitted) {
  if (auto status = ReserveBytes(admitted.num_bytes); !status.ok()) return status;
  lease_ = std::move(admitted.lease);
  record_.request_id = lease_.id();
  for (const int64_t num_rows : admitted.num_rows) outputs_.emplace_back().num_rows = num_rows;
  num_running_ = outputs_.size();
  std::vector<Submission> batch;
  for (std::size_t i = 0; i < admitted.requests.size(); ++i) {
    record_.num_prompt_tokens += static_cast<int64_t>(admitted.requests[i]->prompt.size());
    batch.push_back(
        {std::move(admitted.requests[i]), std::make_shared<Sink>(shared_from_this(), i)});
  }
  handles_ = context_.engine.SubmitBatch(std::move(batch));
  return absl::OkStatus();
}

absl::Status ForwardBatch::ReserveBytes(uint64_t num_bytes) {
  ByteBudget& budget = context_.forward_bytes;
  logit_bytes_ = budget.Take(num_bytes);
  if (logit_bytes_ != nullptr) return absl::OkStatus();
  return WithRetryDelay(
      absl::ResourceExhaustedError(absl::StrCat(
          "the answer takes ", num_bytes,
          " bytes of logits, and Forward calls under way already take ", budget.num_used(),
          " of the server's ", budget.limit(), "; try again later")),
      kRetryDelay);
}

void ForwardBatch::TakeLogits(std::size_t index, const SlotLogits& logits) {
  if (!status_.ok()) return;
  Output& output = outputs_[index];
  for (const LogitShard& shard : logits.shards) {
    output.num_bytes += static_cast<int64_t>(shard.bytes.size());
  }
  // Row by row, unless the rows lie one after the other already.
  const size_t num_rows = logits.shards.size() == 1 ? 1 : logits.num_rows;
  for (size_t row = 0; row < num_rows; ++row) {
    for (const LogitShard& shard : logits.shards) {
      const size_t row_bytes = shard.bytes.size() / num_rows;
      output.rows.push_back(SliceOf(shard.bytes.data() + row * row_bytes, row_bytes, shard.owner));
    }
  }
}

void ForwardBatch::Complete(std::size_t index, const Completion& completion) {
  if (!completion.status.ok()) {
    Abandon(WithRetryIfUseful(context_, completion.status));
  } else {
    for (const StepTime& step : completion.steps) step_times_[step.step] = step.duration;
  }
  last_ = completion;
  if (--num_running_ == 0) End(status_);
}

void ForwardBatch::Abandon(const absl::Status& status) {
  if (num_running_ == 0 || !status_.ok()) return;
  status_ = status;
  for (RequestHandle handle : handles_) {
    context_.engine.Finish(handle, v1::FINISH_REASON_UNSPECIFIED, status_, MonotonicNow());
  }
}

void ForwardBatch::End(absl::Status status) {
  if (std::exchange(has_ended_, true)) return;
  if (absl::IsInternal(status) && !record_.request_id.empty()) {
    status = WithRequestId(std::move(status), record_.request_id);
  }
  record_.status = status;
  record_.timing = ToTiming(last_, times_.arrival, MonotonicNow());
  LogRequest(record_);
  if (status.ok()) {
    context_.counter.CountSuccess(v1::LENGTH);
  } else {
    context_.counter.CountFailure(status.code());
  }
  lease_ = RequestIdLease();
  done_(status, status.ok() ? TakeAnswer() : grpc::ByteBuffer());
}

grpc::ByteBuffer ForwardBatch::TakeAnswer() {
  v1::ForwardResponse fields;
  absl::Duration total;
  for (const auto& [step, duration] : step_times_) total += duration;
  *fields.mutable_duration() =
      google::protobuf::util::TimeUtil::NanosecondsToDuration(absl::ToInt64Nanoseconds(total));
  // The logits are sent from where they are: a copy would be the larger part of a short call.
  WireMessage response;
  response.AddFields(fields);
  for (Output& output : outputs_) {
    v1::LogitsTensor shape;
    shape.add_shape(output.num_rows);
    shape.add_shape(output.num_bytes / static_cast<int64_t>(sizeof(float)) / output.num_rows);
    WireMessage tensor;
    tensor.AddFields(shape);
    tensor.AddBytes(v1::LogitsTensor::kLogitsFieldNumber, std::move(output.rows));
    response.AddMessage(v1::ForwardResponse::kOutputsFieldNumber, std::move(tensor));
  }
  return response.Take();
}

ForwardCall::ForwardCall(ServiceContext& context, grpc::CallbackServerContext& call,
                         grpc::ByteBuffer request, grpc::ByteBuffer& response)
    : open_(context),
      batch_(std::make_shared<ForwardBatch>(
          context, [this, &response](const absl::Status& status, grpc::ByteBuffer answer) {
            if (status.ok()) response.Swap(&answer);
            handoff_.Give();
            Finish(ToGrpcStatus(status));
          })) {
  handoff_.Give();
  batch_->Start(std::move(request), TimesOf(call));
}

}  // namespace lockstep::server
