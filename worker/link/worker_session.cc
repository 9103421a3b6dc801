#include "worker/link/worker_session.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <exception>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "process/processor_count.h"
#include "worker/link/messages.h"
#include "worker/memory/result_memory.h"

namespace lockstep::worker {
namespace {

// How long the frontend's word may take to one rank longer than to another.
constexpr std::chrono::seconds kGoodbyePatience(2);

// A worker with nothing to do keeps memory for results that long.
constexpr std::chrono::seconds kIdlePatience(10);

// How long a step that is under way may run before its end is waited for and no other step begun
// meanwhile: only that wait sees failures of the device and of other ranks.
constexpr std::chrono::milliseconds kStepPatience(100);

std::string HostName() {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

// Refusals have codes of their own; a frontend that failed or went away has UNAVAILABLE or
// CANCELLED.
bool IsRefusal(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kUnimplemented:
      return true;
    default:
      return false;
  }
}

// What gRPC itself refuses, because it knows no such service, comes without a text.
std::string RefusalText(const absl::Status& status, const std::string& frontend) {
  if (!absl::IsUnimplemented(status)) return std::string(status.message());
  return absl::StrCat(frontend,
                      " is not its address for workers: give --frontend that of lockstep-server's "
                      "--worker-listen");
}

absl::Status BrokenLink() { return absl::UnavailableError("the link broke"); }

}  // namespace

WorkerSession::WorkerSession(const WorkerOptions& options, ControlLink& link,
                             StepExecutor& executor, std::function<void(ExitCode)> on_ending)
    : options_(options),
      link_(link),
      executor_(executor),
      on_ending_(std::move(on_ending)),
      results_(link) {
  executor_.OnStepDone([signals = signals_] {
    const std::lock_guard<std::mutex> lock(signals->mutex);
    ++signals->num_done;
    signals->changed.notify_all();
  });
}

ExitCode WorkerSession::Run() {
  std::thread executing([this] { ExecuteMessages(); });
  if (link_.Write(Hello())) ReadMessages();
  const absl::Status status = link_.Finish();
  const bool is_refused = IsRefusal(status);
  // The end that this worker did not choose is told; the others have been.
  if (End(is_refused ? ExitCode::kNotAttached : ExitCode::kFrontendGone)) {
    std::fprintf(stderr, "%s: %s\n", is_refused ? "the frontend refused" : "the link ended",
                 RefusalText(status, options_.frontend).c_str());
  }
  executing.join();
  const std::lock_guard<std::mutex> lock(signals_->mutex);
  return *code_;
}

bool WorkerSession::End(ExitCode code) {
  {
    const std::lock_guard<std::mutex> lock(signals_->mutex);
    if (code_.has_value()) return false;
    code_ = code;
  }
  on_ending_(code);
  signals_->changed.notify_all();
  executor_.Abort();
  // A failure that was written is let through: the frontend ends the link once it has read it.
  if (code == ExitCode::kFailed) {
    link_.WritesDone();
  } else {
    link_.Cancel();
  }
  return true;
}

void WorkerSession::ReadMessages() {
  v1::FrontendMessage message;
  while (link_.Read(message)) {
    if (message.has_shutdown()) {
      End(ExitCode::kGoodbye);
      return;
    }
    if (message.has_token_masks()) {
      // For a step that may be under way.
      executor_.AddMasks(FromProto(message.token_masks()));
      continue;
    }
    const std::lock_guard<std::mutex> lock(signals_->mutex);
    messages_.push_back(std::move(message));
    signals_->changed.notify_all();
  }
}

WorkerSession::Next WorkerSession::WaitForNext() {
  std::unique_lock<std::mutex> lock(signals_->mutex);
  const bool is_full = num_under_way_ > 0 && num_under_way_ >= executor_.max_steps_under_way();
  const auto has_next = [&] {
    return code_.has_value() || is_full || signals_->num_done > num_finished_ || !messages_.empty();
  };
  if (num_under_way_ == 0) {
    if (!signals_->changed.wait_for(lock, kIdlePatience, has_next)) {
      lock.unlock();
      ResultMemory::OfProcess().DropKept();
      lock.lock();
    }
    // No deadline: an idle pool has nothing to say, and the reader ends this when the link does.
    signals_->changed.wait(lock, has_next);
  } else if (!signals_->changed.wait_for(lock, kStepPatience, has_next)) {
    return Next::kFinishStep;
  }
  if (code_.has_value()) return Next::kEnd;
  return is_full || signals_->num_done > num_finished_ ? Next::kFinishStep : Next::kMessage;
}

v1::FrontendMessage WorkerSession::TakeMessage() {
  const std::lock_guard<std::mutex> lock(signals_->mutex);
  v1::FrontendMessage message = std::move(messages_.front());
  messages_.pop_front();
  return message;
}

void WorkerSession::ExecuteMessages() {
  for (Next next = WaitForNext(); next != Next::kEnd; next = WaitForNext()) {
    absl::Status status;
    // The step boundary, where LibTorch's exceptions and failed allocations end.
    try {
      status = Carry(next);
    } catch (const std::exception& error) {
      status = absl::InternalError(error.what());
    }
    if (!status.ok()) {
      ReportFailure(status);
      return;
    }
  }
}

absl::Status WorkerSession::Carry(Next next) {
  return next == Next::kFinishStep ? FinishStep() : Carry(TakeMessage());
}

absl::Status WorkerSession::Carry(const v1::FrontendMessage& message) {
  switch (message.message_case()) {
    case v1::FrontendMessage::kConfigure:
      return Load(message.configure());
    case v1::FrontendMessage::kStart:
      return Start(message.start());
    case v1::FrontendMessage::kStepPlan:
      return BeginStep(message.step_plan());
    case v1::FrontendMessage::kTokenMasks:
    case v1::FrontendMessage::kShutdown:
    case v1::FrontendMessage::MESSAGE_NOT_SET:
      break;
  }
  return absl::InternalError("a message that this worker does not know");
}

absl::Status WorkerSession::Load(const v1::Configure& configure) {
  WorkerConfig config = FromProto(configure);
  if (config.num_threads == 0) {
    config.num_threads =
        std::max(1U, static_cast<uint32_t>(NumUsableProcessors()) / options_.local_world_size);
  }
  config.local_rank = options_.local_rank;
  config.local_world_size = options_.local_world_size;
  // The frontend's own workers inherit what it sees.
  config.sees_the_others_gpus = options_.death_fd >= 0;
  const auto report = [this](uint64_t bytes_loaded, uint64_t bytes_total) {
    v1::WorkerMessage message;
    message.mutable_load_progress()->set_bytes_loaded(bytes_loaded);
    message.mutable_load_progress()->set_bytes_total(bytes_total);
    link_.Write(message);
  };
  const absl::StatusOr<LoadedInfo> loaded = executor_.Load(
      config, static_cast<int>(options_.rank), static_cast<int>(options_.world_size), report);
  return loaded.ok() ? Send(ToProto(*loaded)) : loaded.status();
}

absl::Status WorkerSession::Start(const v1::Start& start) {
  const absl::Status status = executor_.Start(start.num_kv_blocks(), start.communicator_handle());
  if (!status.ok()) return status;
  v1::WorkerMessage message;
  v1::Ready& ready = *message.mutable_ready();
  for (const StartPhase& phase : executor_.start_phases()) {
    v1::StartPhase& copy = *ready.add_phases();
    copy.set_name(phase.name);
    copy.set_duration_ns(static_cast<uint64_t>(phase.duration.count()));
  }
  return Send(message);
}

absl::Status WorkerSession::BeginStep(const v1::StepPlan& message) {
  const StepPlan plan = FromProto(message);
  while (num_under_way_ > 0 && executor_.NeedsFinishedSteps(plan)) {
    if (absl::Status status = FinishStep(); !status.ok()) return status;
  }
  if (absl::Status status = executor_.Begin(plan); !status.ok()) return status;
  ++num_under_way_;
  return absl::OkStatus();
}

absl::Status WorkerSession::FinishStep() {
  absl::StatusOr<StepResult> result = executor_.Finish();
  if (!result.ok()) return result.status();
  --num_under_way_;
  ++num_finished_;
  // The next step need not wait for this.
  return results_.Push(*std::move(result)) ? absl::OkStatus() : BrokenLink();
}

absl::Status WorkerSession::Send(const v1::WorkerMessage& message) {
  return link_.Write(message) ? absl::OkStatus() : BrokenLink();
}

void WorkerSession::ReportFailure(const absl::Status& status) {
  {
    std::unique_lock<std::mutex> lock(signals_->mutex);
    // A peer that gave up in the middle of a step had a reason, most often that the frontend said
    // goodbye, which is then on its way to this rank too.
    if (absl::IsCancelled(status)) {
      signals_->changed.wait_for(lock, kGoodbyePatience, [this] { return code_.has_value(); });
    }
    if (code_.has_value()) return;  // a consequence of the end, which the frontend knows of
  }
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  results_.Flush();
  v1::WorkerMessage message;
  message.mutable_failure()->set_code(static_cast<int32_t>(status.code()));
  message.mutable_failure()->set_message(std::string(status.message()));
  link_.Write(message);
  End(ExitCode::kFailed);
}

v1::WorkerMessage WorkerSession::Hello() const {
  v1::WorkerMessage message;
  v1::Hello& hello = *message.mutable_hello();
  hello.set_rank(options_.rank);
  hello.set_world_size(options_.world_size);
  hello.set_version(LOCKSTEP_VERSION);
  hello.set_pid(static_cast<uint32_t>(getpid()));
  hello.set_host(HostName());
  hello.set_pool_token(options_.pool_token);
  return message;
}

}  // namespace lockstep::worker
