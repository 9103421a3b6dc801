// The engine's thread: takes commands from the inbox, drives the scheduler and the pool, and speaks
// to the sinks.
#ifndef LOCKSTEP_SERVER_ENGINE_ENGINE_LOOP_H_
#define LOCKSTEP_SERVER_ENGINE_ENGINE_LOOP_H_

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "process/monotonic_time.h"
#include "server/engine/engine.h"
#include "server/engine/engine_observer.h"
#include "server/engine/guided_requests.h"
#include "server/engine/inbox.h"
#include "server/engine/queue_delay.h"
#include "server/scheduler/scheduler.h"
#include "server/sync/mutex.h"
#include "server/worker_pool/worker_pool.h"

namespace lockstep::server {

struct EngineOptions {
  SchedulerOptions scheduler;
  GuidedRequests::Options guides;
  // Deadlines and timings, those of requests too, go by this clock. The thread sleeps by the real
  // one, so a test that moves its own clock past a deadline then wakes the engine with any command.
  std::function<absl::Time()> clock = MonotonicNow;
  // Not owned; may be null; must outlive the engine.
  EngineObserver* observer = nullptr;
  // Called once, on the engine's thread, when the pool has failed and every request has been told.
  // The engine cannot go on; the process should exit non-zero.
  std::function<void(const absl::Status&)> on_failed;
};

// Made first, as the pool's listener; then Start() with the pool. Thread-safe.
class EngineLoop final : public Engine, public WorkerPoolListener {
 public:
  explicit EngineLoop(EngineOptions options);
  // As Stop().
  ~EngineLoop() override;
  EngineLoop(const EngineLoop&) = delete;
  EngineLoop& operator=(const EngineLoop&) = delete;

  // Starts the thread; call once. `pool` must outlive Stop(), and may already have called this
  // listener.
  void Start(WorkerPool& pool);

  // Ends every request with UNAVAILABLE and joins the thread. Not from the engine's own thread.
  // Later requests complete with UNAVAILABLE on the caller's thread.
  void Stop();

  // Engine
  std::vector<RequestHandle> SubmitBatch(std::vector<Submission> batch) override;
  void Finish(RequestHandle handle, v1::FinishReason reason, absl::Status status,
              absl::Time since) override;
  void Drain() override;
  absl::Status CheckOpen() const override;
  EngineSnapshot Snapshot() const override;

  // WorkerPoolListener
  void OnReady(const PoolCapacity& capacity) override;
  void OnStepResult(StepResult result) override;
  void OnFailed(const absl::Status& status) override;

 private:
  struct LiveRequest {
    std::shared_ptr<const EngineRequest> request;
    std::shared_ptr<OutputSink> sink;
    std::optional<absl::Time> last_token;
  };

  void Run();
  // Until the next command, or the next deadline.
  std::vector<Command> WaitForCommands();
  // One for each kind of command.
  void Take(SubmitCommand command);
  void Take(FinishCommand command);
  void Take(DrainCommand command);
  void Take(PoolReadyCommand command);
  void Take(PoolFailedCommand command);
  void Take(StepResult result);
  void Take(GuideStep step);
  void Take(StopCommand command);

  // Reports the cancelled requests that no step in flight uses any more.
  void ObserveFreed();
  void SubmitSteps();
  void SubmitMasks();
  void DeliverEvents();
  void Observe(const Event& event, LiveRequest& live, absl::Time now);
  void Complete(RequestHandle handle, const Completion& completion);
  // Completes requests that the scheduler never had.
  void Refuse(const SubmitCommand& command, const absl::Status& status);
  void Refuse(const SubmitCommand::Member& member, const absl::Status& status);
  void Fail(const absl::Status& status);
  void PublishSnapshot();
  void RefuseRemainingCommands();

  const EngineOptions options_;
  std::atomic<RequestHandle> next_handle_ = 1;
  Inbox inbox_;
  mutable Mutex snapshot_mutex_;
  EngineSnapshot snapshot_ ABSL_GUARDED_BY(snapshot_mutex_);
  absl::Status refusal_ ABSL_GUARDED_BY(snapshot_mutex_);
  Mutex stop_mutex_;
  std::thread thread_ ABSL_GUARDED_BY(stop_mutex_);

  // The rest belongs to the thread.
  WorkerPool* pool_ = nullptr;
  Scheduler scheduler_;
  GuidedRequests guided_;  // its threads speak to inbox_
  absl::flat_hash_map<RequestHandle, LiveRequest> live_;
  // Cancelled requests, by the newest step that uses their blocks.
  struct Cancelled {
    uint64_t last_step = 0;
    absl::Time since;
  };
  std::vector<Cancelled> cancelled_;
  QueueDelay queue_delay_;
  // Not OK: no request is taken any more, for this reason.
  absl::Status closed_;
  bool pool_failed_ = false;
  bool stopping_ = false;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ENGINE_ENGINE_LOOP_H_
