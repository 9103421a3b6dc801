#include "server/engine/engine_loop.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"

namespace lockstep::server {
namespace {

// Delivers one event to the sink of its request; completions are the engine's own affair.
struct Delivery {
  OutputSink& sink;

  void operator()(ScheduledEvent& event) const { sink.OnScheduled(event.num_cached_tokens); }
  void operator()(TokenEvent& token) const { sink.OnToken(token); }
  void operator()(SlotLogits& logits) const { sink.OnLogits(std::move(logits)); }
  void operator()(PromptTokensEvent& prompt) const {
    sink.OnPromptTokens(std::move(prompt.tokens));
  }
  void operator()(PreemptedEvent&) const {}
  void operator()(Completion&) const {}
};

absl::Status StoppedStatus() {
  return absl::UnavailableError("the server is shutting down: send the request to another");
}

}  // namespace

EngineLoop::EngineLoop(EngineOptions options)
    : options_(std::move(options)),
      scheduler_(options_.scheduler),
      guided_(options_.guides, [this](GuideStep step) { inbox_.Push(std::move(step)); }) {}

EngineLoop::~EngineLoop() { Stop(); }

void EngineLoop::Start(WorkerPool& pool) {
  MutexLock lock(stop_mutex_);
  pool_ = &pool;
  thread_ = std::thread([this] { Run(); });
}

void EngineLoop::Stop() {
  MutexLock lock(stop_mutex_);
  if (thread_.joinable()) {
    inbox_.Push(StopCommand{});
    thread_.join();
  }
  // Never started, or stopped before: what came meanwhile is answered here.
  RefuseRemainingCommands();
}

std::vector<RequestHandle> EngineLoop::SubmitBatch(std::vector<Submission> batch) {
  const RequestHandle begin = next_handle_.fetch_add(batch.size());
  std::vector<RequestHandle> handles;
  SubmitCommand submit;
  for (Submission& submission : batch) {
    handles.push_back(begin + handles.size());
    submit.members.push_back(
        {handles.back(), std::move(submission.request), std::move(submission.sink)});
  }
  Command command = std::move(submit);
  if (!inbox_.Push(std::move(command))) Refuse(std::get<SubmitCommand>(command), StoppedStatus());
  return handles;
}

void EngineLoop::Finish(RequestHandle handle, v1::FinishReason reason, absl::Status status,
                        absl::Time since) {
  inbox_.Push(FinishCommand{handle, reason, std::move(status), since});
}

void EngineLoop::Drain() { inbox_.Push(DrainCommand{}); }

absl::Status EngineLoop::CheckOpen() const {
  MutexLock lock(snapshot_mutex_);
  return refusal_;
}

EngineSnapshot EngineLoop::Snapshot() const {
  MutexLock lock(snapshot_mutex_);
  return snapshot_;
}

void EngineLoop::OnReady(const PoolCapacity& capacity) { inbox_.Push(PoolReadyCommand{capacity}); }

void EngineLoop::OnStepResult(StepResult result) { inbox_.Push(std::move(result)); }

void EngineLoop::OnFailed(const absl::Status& status) { inbox_.Push(PoolFailedCommand{status}); }

void EngineLoop::Run() {
  while (!stopping_) {
    for (Command& command : WaitForCommands()) {
      std::visit([this](auto& each) { Take(std::move(each)); }, command);
    }
    ObserveFreed();
    scheduler_.Expire(options_.clock());
    // The workers before the sinks: they should not wait for text to be written.
    guided_.Take(scheduler_.events());
    SubmitSteps();
    SubmitMasks();
    PublishSnapshot();
    DeliverEvents();
  }
  scheduler_.FinishAll(StoppedStatus());
  PublishSnapshot();
  DeliverEvents();
  RefuseRemainingCommands();
}

std::vector<Command> EngineLoop::WaitForCommands() {
  const absl::Time deadline = std::min(scheduler_.NextDeadline(), guided_.NextDeadline());
  return inbox_.Wait(deadline == absl::InfiniteFuture() ? absl::InfiniteDuration()
                                                        : deadline - options_.clock());
}

void EngineLoop::Take(SubmitCommand command) {
  absl::Status status = closed_;
  if (status.ok()) {
    int64_t num_tokens = 0;
    for (const SubmitCommand::Member& member : command.members) {
      num_tokens += static_cast<int64_t>(member.request->prompt.size());
    }
    status = scheduler_.CheckQueue(command.members.size(), num_tokens);
  }
  if (!status.ok()) {
    Refuse(command, status);
    return;
  }
  for (SubmitCommand::Member& member : command.members) {
    status = scheduler_.Add(member.handle, member.request);
    if (!status.ok()) {
      Refuse(member, status);
      continue;
    }
    guided_.Add(member.handle, *member.request);
    live_[member.handle] = {std::move(member.request), std::move(member.sink), std::nullopt};
  }
}

void EngineLoop::Take(FinishCommand command) {
  const std::optional<uint64_t> last_step = scheduler_.LastStepOf(command.handle);
  // Not with a deadline, or with the failure of a request that came with this one.
  const bool cancels = absl::IsCancelled(command.status) || command.reason == v1::ABORTED;
  if (last_step.has_value() && cancels) cancelled_.push_back({*last_step, command.since});
  scheduler_.Finish(command.handle, command.reason, std::move(command.status));
}

void EngineLoop::Take(DrainCommand) {
  closed_.Update(absl::UnavailableError(
      "the server is draining: send the request to another, or retry later"));
}

void EngineLoop::Take(PoolReadyCommand command) {
  if (pool_failed_) return;
  const uint64_t num_blocks = command.capacity.num_kv_blocks;
  // Our own workers refuse to start. Others could say anything.
  if (num_blocks < options_.scheduler.min_kv_blocks()) {
    Fail(absl::ResourceExhaustedError(absl::StrCat(
        "the workers' KV cache has ", num_blocks, " blocks of ", options_.scheduler.block_size,
        " tokens, less than one sequence of --max-model-len ", options_.scheduler.max_model_len,
        " takes: lower --max-model-len, or raise the workers' --kv-cache-memory")));
    return;
  }
  // Blocks, and the ends of the pool's two lists of them, are numbered in 32 bits.
  const uint64_t limit = std::numeric_limits<uint32_t>::max() - 1;
  scheduler_.Start(static_cast<uint32_t>(std::min(num_blocks, limit)));
}

void EngineLoop::Take(PoolFailedCommand command) { Fail(command.status); }

void EngineLoop::Take(StepResult result) {
  if (pool_failed_) return;
  const absl::StatusOr<StepSummary> summary = scheduler_.Apply(std::move(result), options_.clock());
  if (!summary.ok()) {
    Fail(summary.status());
    return;
  }
  if (options_.observer != nullptr) options_.observer->OnStepDone(*summary);
}

void EngineLoop::Take(GuideStep step) {
  if (!step.status.ok()) {
    scheduler_.Finish(step.handle, v1::FINISH_REASON_UNSPECIFIED, std::move(step.status));
  } else if (step.complete) {
    scheduler_.Finish(step.handle, v1::EOS, absl::OkStatus());
  } else {
    scheduler_.SetMaskPosition(step.handle, step.position);
    guided_.Take(std::move(step));
  }
}

void EngineLoop::Take(StopCommand) {
  stopping_ = true;
  closed_.Update(StoppedStatus());
}

void EngineLoop::Fail(const absl::Status& status) {
  if (pool_failed_) return;
  pool_failed_ = true;
  closed_ = absl::UnavailableError(absl::StrCat("the worker pool has failed: ", status.message()));
  scheduler_.FinishAll(closed_);
  PublishSnapshot();
  DeliverEvents();
  if (options_.on_failed) options_.on_failed(status);
}

void EngineLoop::ObserveFreed() {
  const auto freed = std::partition(
      cancelled_.begin(), cancelled_.end(),
      [this](const Cancelled& each) { return each.last_step > scheduler_.num_steps(); });
  for (auto it = freed; it != cancelled_.end() && options_.observer != nullptr; ++it) {
    options_.observer->OnCancelFreed(options_.clock() - it->since);
  }
  cancelled_.erase(freed, cancelled_.end());
}

void EngineLoop::SubmitSteps() {
  while (!pool_failed_ && !stopping_) {
    const std::optional<worker::v1::StepPlan> plan = scheduler_.Schedule(options_.clock());
    if (!plan.has_value()) return;
    pool_->Submit(*plan);
    guided_.AddRows(scheduler_.TakeGuidedRows());
  }
}

void EngineLoop::SubmitMasks() {
  if (pool_failed_) return;
  for (RequestHandle handle : guided_.TakeLate(scheduler_.num_steps(), options_.clock())) {
    scheduler_.HoldBack(handle);
  }
  for (const worker::v1::TokenMasks& masks : guided_.TakeReady()) pool_->SubmitMasks(masks);
}

void EngineLoop::DeliverEvents() {
  const absl::Time now = options_.clock();
  for (Event& event : scheduler_.TakeEvents()) {
    if (std::holds_alternative<ScheduledEvent>(event.what)) {
      queue_delay_.OnScheduled(now, scheduler_.num_waiting());
    }
    LiveRequest& live = live_.at(event.handle);
    Observe(event, live, now);
    if (const auto* completion = std::get_if<Completion>(&event.what)) {
      Complete(event.handle, *completion);
    } else {
      std::visit(Delivery{*live.sink}, event.what);
    }
  }
}

void EngineLoop::Observe(const Event& event, LiveRequest& live, absl::Time now) {
  if (options_.observer == nullptr) return;
  if (std::holds_alternative<TokenEvent>(event.what)) {
    const bool first = !live.last_token.has_value();
    options_.observer->OnToken(first, now - live.last_token.value_or(live.request->arrival));
    live.last_token = now;
  } else if (const auto* preempted = std::get_if<PreemptedEvent>(&event.what)) {
    options_.observer->OnPreempted(live.request->id, preempted->num_tokens_lost);
  } else if (const auto* completion = std::get_if<Completion>(&event.what)) {
    options_.observer->OnRequestDone(*live.request, *completion, now);
  }
}

void EngineLoop::Complete(RequestHandle handle, const Completion& completion) {
  guided_.Remove(handle);
  const auto node = live_.extract(handle);
  const LiveRequest& live = node.mapped();
  live.sink->OnComplete(completion);
}

void EngineLoop::Refuse(const SubmitCommand& command, const absl::Status& status) {
  for (const SubmitCommand::Member& member : command.members) Refuse(member, status);
}

void EngineLoop::Refuse(const SubmitCommand::Member& member, const absl::Status& status) {
  Completion completion;
  completion.status = status;
  member.sink->OnComplete(completion);
}

void EngineLoop::RefuseRemainingCommands() {
  for (const Command& command : inbox_.Close()) {
    if (const auto* submit = std::get_if<SubmitCommand>(&command)) {
      Refuse(*submit, StoppedStatus());
    }
  }
}

void EngineLoop::PublishSnapshot() {
  EngineSnapshot snapshot;
  snapshot.num_running = scheduler_.num_running();
  snapshot.num_waiting = scheduler_.num_waiting();
  snapshot.num_waiting_tokens = static_cast<uint64_t>(scheduler_.num_waiting_tokens());
  snapshot.queue_delay = queue_delay_.Estimate(options_.clock(), scheduler_.num_waiting());
  snapshot.kv_blocks_total = scheduler_.num_blocks();
  snapshot.kv_blocks_used = scheduler_.num_used_blocks();
  snapshot.steps = scheduler_.num_steps();
  snapshot.prompt_tokens = scheduler_.num_prompt_tokens();
  snapshot.generated_tokens = scheduler_.num_generated_tokens();
  snapshot.preemptions = scheduler_.num_preemptions();
  snapshot.held_back = scheduler_.num_held_back();
  snapshot.prefix_cache_queries = scheduler_.num_cache_queries();
  snapshot.prefix_cache_hits = scheduler_.num_cache_hits();
  absl::Status refusal = closed_.ok() ? scheduler_.CheckQueue(1, 0) : closed_;
  MutexLock lock(snapshot_mutex_);
  snapshot_ = snapshot;
  refusal_ = std::move(refusal);
}

}  // namespace lockstep::server
