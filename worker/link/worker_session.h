// A worker's life on its link: hello, load, start, steps, goodbye.
#ifndef LOCKSTEP_WORKER_LINK_WORKER_SESSION_H_
#define LOCKSTEP_WORKER_LINK_WORKER_SESSION_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "lockstep/worker/v1/control_link.pb.h"
#include "worker/link/control_link.h"
#include "worker/link/exit_code.h"
#include "worker/link/result_writer.h"
#include "worker/link/worker_options.h"
#include "worker/runtime/step_executor.h"

namespace lockstep::worker {

// The caller's thread reads; a second one executes, so that plans queue while a step runs; a third
// sends results.
class WorkerSession {
 public:
  // `on_ending` is called once, by whichever thread sees first that the session is ending: from
  // then on Run may take as long as the executor's call under way. All three outlive this.
  WorkerSession(const WorkerOptions& options, ControlLink& link, StepExecutor& executor,
                std::function<void(ExitCode)> on_ending);

  // Returns when the link has ended and the executor's last call has returned.
  ExitCode Run();

  // Ends the session with this code; false where it is ending already. From any thread.
  bool End(ExitCode code);

 private:
  void ReadMessages();
  // What the executing thread does next.
  enum class Next { kEnd, kMessage, kFinishStep };

  void ExecuteMessages();
  Next WaitForNext();
  absl::Status Carry(Next next);
  absl::Status Carry(const v1::FrontendMessage& message);
  v1::FrontendMessage TakeMessage();
  absl::Status Load(const v1::Configure& configure);
  absl::Status Start(const v1::Start& start);
  absl::Status BeginStep(const v1::StepPlan& plan);
  absl::Status FinishStep();
  absl::Status Send(const v1::WorkerMessage& message);
  void ReportFailure(const absl::Status& status);
  v1::WorkerMessage Hello() const;

  const WorkerOptions& options_;
  ControlLink& link_;
  StepExecutor& executor_;
  const std::function<void(ExitCode)> on_ending_;
  ResultWriter results_;
  // Of the executing thread: steps that were begun and not finished, and all that were finished.
  int num_under_way_ = 0;
  uint64_t num_finished_ = 0;

  // Shared with the executor's device, which may tell of a step when the session is gone.
  struct Signals {
    std::mutex mutex;
    std::condition_variable changed;
    uint64_t num_done = 0;  // under mutex: OnStepDone's calls
  };
  const std::shared_ptr<Signals> signals_ = std::make_shared<Signals>();
  std::deque<v1::FrontendMessage> messages_;  // under signals_->mutex
  std::optional<ExitCode> code_;              // under signals_->mutex
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_LINK_WORKER_SESSION_H_
