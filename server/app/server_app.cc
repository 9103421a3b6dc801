#include "server/app/server_app.h"

#include <grpc/grpc.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "process/monotonic_time.h"
#include "process/processor_count.h"
#include "server/app/load_progress.h"
#include "server/app/server_log.h"
#include "server/app/start_report.h"
#include "server/app/unsent_bytes.h"

namespace lockstep::server {
namespace {

// How long a stream may take to get its last message out to its client.
constexpr absl::Duration kFlush = absl::Seconds(1);
constexpr absl::Duration kWorkerPatience = absl::Seconds(3);
// Of everything after the grace period; beyond it the process ends whatever hangs, and the workers
// with it.
constexpr absl::Duration kWindUpLimit = absl::Seconds(15);
// For whoever reads standard output.
constexpr absl::Duration kReaderPatience = absl::Seconds(1);
// How often a draining server looks whether it is idle.
constexpr absl::Duration kIdleInterval = absl::Milliseconds(20);

void OnAlarm(int) {
  static constexpr char kText[] = "shutting down took too long; giving up\n";
  if (TakesOutput(STDERR_FILENO, absl::ZeroDuration())) {
    [[maybe_unused]] const ssize_t size = write(STDERR_FILENO, kText, sizeof(kText) - 1);
  }
  _exit(static_cast<int>(ExitStatus::kUnexpected));
}

// Bounds all that follows.
void ExitWithin(absl::Duration limit) {
  signal(SIGALRM, OnAlarm);
  // It may have been inherited as blocked.
  sigset_t alarms;
  sigemptyset(&alarms);
  sigaddset(&alarms, SIGALRM);
  pthread_sigmask(SIG_UNBLOCK, &alarms, nullptr);
  alarm(static_cast<unsigned>(absl::ToInt64Seconds(limit)) + 1);
}

}  // namespace

void ServerApp::PoolEvents::OnReady(const PoolCapacity& capacity) {
  spdlog::info("workers ready: {} KV blocks", capacity.num_kv_blocks);
  engine_.OnReady(capacity);
  events_.SetPoolReady();
}

void ServerApp::PoolEvents::OnStepResult(StepResult result) {
  engine_.OnStepResult(std::move(result));
}

// The engine tells its requests first, and then the main thread.
void ServerApp::PoolEvents::OnFailed(const absl::Status& status) { engine_.OnFailed(status); }

ServerApp::ServerApp(ServerOptions options, CheckedModel model, PoolOptions pool_options,
                     ProcessEvents& events)
    : options_(std::move(options)),
      model_(std::move(model)),
      events_(events),
      request_metrics_(registry_),
      engine_events_(registry_),
      engine_(MakeEngineOptions()),
      pool_events_(engine_, events_),
      pool_(std::move(pool_options)),
      state_collector_(engine_, pool_, LOCKSTEP_VERSION) {
  // Held until the process ends: the last one to be given back waits for a thread of gRPC's, which
  // may sleep for ten seconds.
  grpc_init();
}

ServerApp::~ServerApp() { WindUp(absl::ZeroDuration(), absl::ZeroDuration()); }

EngineOptions ServerApp::MakeEngineOptions() {
  EngineOptions engine;
  engine.scheduler.max_model_len = model_.max_model_len;
  engine.scheduler.max_num_seqs = options_.max_num_seqs;
  engine.scheduler.max_num_batched_tokens = options_.max_num_batched_tokens;
  engine.scheduler.block_size = options_.block_size;
  engine.scheduler.vocab_size = static_cast<int32_t>(model_.config.vocab_size);
  engine.scheduler.enable_prefix_caching = options_.enable_prefix_caching;
  if (const auto longest = worker::LongestWithBaseRope(model_.config)) {
    engine.scheduler.max_shared_len = static_cast<int32_t>(*longest);
  }
  engine.scheduler.max_steps_in_flight = options_.max_steps_in_flight;
  engine.scheduler.max_queued_requests = options_.max_queued_requests;
  engine.scheduler.max_queued_tokens = options_.max_queued_tokens;
  engine.guides.vocab_size = static_cast<int32_t>(model_.config.vocab_size);
  engine.guides.num_threads = std::clamp(NumUsableProcessors() / 4, 1, 8);
  engine.observer = &engine_events_;
  engine.on_failed = [this](const absl::Status& status) { events_.SetPoolFailed(status); };
  return engine;
}

absl::Status ServerApp::Start() {
  for (const std::string& warning : model_.warnings) spdlog::warn("{}", warning);
  for (const std::string& note : model_.notes) spdlog::info("{}", note);
  if (absl::Status status = pool_.Start(pool_events_); !status.ok()) return status;
  engine_.Start(pool_);
  if (absl::Status status = LoadText(); !status.ok()) return status;
  return OpenPorts();
}

absl::Status ServerApp::LoadText() {
  absl::StatusOr<std::unique_ptr<TextModel>> text = TextModel::Load(options_.model_dir);
  if (!text.ok()) return text.status();
  text_ = *std::move(text);
  for (const std::string& warning : text_->warnings()) spdlog::warn("{}", warning);
  served_model_.name = options_.served_model_name;
  served_model_.vocab_size = static_cast<int32_t>(model_.config.vocab_size);
  served_model_.max_model_len = model_.max_model_len;
  served_model_.max_sequences =
      static_cast<uint32_t>(options_.max_num_seqs + options_.max_queued_requests);
  absl::StatusOr<GenerationDefaults> defaults =
      LoadGenerationDefaults(options_.model_dir, served_model_.vocab_size, text_->eos_token_id());
  if (!defaults.ok()) return defaults.status();
  for (const std::string& warning : defaults->warnings) spdlog::warn("{}", warning);
  served_model_.defaults = *std::move(defaults);
  return absl::OkStatus();
}

absl::Status ServerApp::OpenPorts() {
  auto grpc_server = GrpcServer::Start(
      options_, {engine_, pool_, *text_, served_model_, model_.config, request_metrics_},
      model_.dtype);
  if (!grpc_server.ok()) return grpc_server.status();
  grpc_server_ = *std::move(grpc_server);
  if (options_.metrics_listen.empty()) return absl::OkStatus();
  auto metrics_server = MetricsServer::Start(
      options_.metrics_listen,
      {{&registry_, &state_collector_}, [this] { return grpc_server_->serving(); }});
  if (!metrics_server.ok()) return metrics_server.status();
  metrics_server_ = *std::move(metrics_server);
  return absl::OkStatus();
}

ExitStatus ServerApp::Run() {
  spdlog::info("taking calls on {}; loading {} on {} workers", grpc_server_->address(),
               options_.model_dir.string(), options_.tensor_parallel_size);
  LoadProgressDisplay progress;
  absl::Duration wait = progress.interval();
  while (true) {
    const ProcessEvent event = events_.Wait(wait);
    if (event != ProcessEvent::kTimeout) progress.Finish();
    switch (event) {
      case ProcessEvent::kPoolReady:
        wait = absl::InfiniteDuration();
        spdlog::info("start: {}", DescribeStart(pool_.Ranks()));
        grpc_server_->SetServing(true);
        Announce();
        break;
      case ProcessEvent::kPoolFailed:
        return WindUpAfterFailure();
      case ProcessEvent::kSignal:
        return Drain();
      case ProcessEvent::kTimeout:
        progress.Show(pool_.Ranks());
        break;
    }
  }
}

void ServerApp::Announce() {
  std::string line = absl::StrCat("lockstep-server listening on ", grpc_server_->address());
  if (metrics_server_ != nullptr) {
    absl::StrAppend(&line, ", metrics on ", metrics_server_->address());
  }
  if (!TakesOutput(STDOUT_FILENO, kReaderPatience)) {
    spdlog::warn("nobody reads standard output, which was to say: {}", line);
    return;
  }
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

ExitStatus ServerApp::Drain() {
  ExitWithin(options_.grace_period + kWindUpLimit);
  grpc_server_->Drain();
  // Said after the fact: who reads this line may rely on new calls being refused.
  spdlog::info("signal {}: running requests have {} to finish; a second signal ends them",
               events_.signal(), absl::FormatDuration(options_.grace_period));
  const absl::Time deadline = MonotonicNow() + options_.grace_period;
  // Looked at instead of waited for: the engine speaks to its requests' sinks alone, and this ends
  // in any case.
  for (int64_t left = NumUnfinished(); left > 0; left = NumUnfinished()) {
    const ProcessEvent event = events_.Wait(kIdleInterval);
    if (event == ProcessEvent::kPoolFailed) return WindUpAfterFailure();
    if (event == ProcessEvent::kSignal) {
      spdlog::warn("second signal: ending now");
      WindUp(absl::ZeroDuration(), absl::ZeroDuration());
      return ExitStatus::kStopped;
    }
    if (MonotonicNow() >= deadline) {
      spdlog::warn("the grace period is over; {} requests are cut off", left);
      break;
    }
  }
  WindUp(kFlush, kWorkerPatience);
  spdlog::info("stopped");
  return ExitStatus::kStopped;
}

int64_t ServerApp::NumUnfinished() const {
  const EngineSnapshot state = engine_.Snapshot();
  // A call is also open while gRPC holds its answer for a slow client.
  const int64_t num_left = std::max(static_cast<int64_t>(state.num_running + state.num_waiting),
                                    grpc_server_->num_open_calls());
  // What the kernel holds counts as one more.
  return num_left > 0 || NumUnsentBytes(grpc_server_->port()) == 0 ? num_left : 1;
}

ExitStatus ServerApp::WindUpAfterFailure() {
  ExitWithin(kWindUpLimit);
  spdlog::error("ending, because the worker pool failed: {}",
                std::string(events_.pool_failure().message()));
  WindUp(kFlush, kWorkerPatience);
  return ExitStatus::kPoolFailed;
}

void ServerApp::WindUp(absl::Duration flush, absl::Duration worker_patience) {
  // First, so that what is cut off hears why from us, and not from gRPC.
  engine_.Stop();
  if (grpc_server_ != nullptr) {
    grpc_server_->Shutdown(absl::Now() + flush);
    metrics_server_.reset();
    grpc_server_.reset();
  }
  pool_.Shutdown(worker_patience);
}

}  // namespace lockstep::server
