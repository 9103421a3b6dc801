// A worker's life on its link: hello, load, start, steps, goodbye.
#ifndef LOCKSTEP_WORKER_LINK_WORKER_SESSION_H_
#define LOCKSTEP_WORKER_LINK_WORKER_SESSION_H_

#include <condition_variable>
#include <deque>
#include <functional>
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
  void ExecuteMessages();
  std::optional<v1::FrontendMessage> NextMessage();  // nothing: the session is ending
  absl::Status Carry(const v1::FrontendMessage& message);
  absl::Status Load(const v1::Configure& configure);
  absl::Status Start(const v1::Start& start);
  absl::Status Execute(const v1::StepPlan& plan);
  absl::Status Send(const v1::WorkerMessage& message);
  void ReportFailure(const absl::Status& status);
  v1::WorkerMessage Hello() const;

  const WorkerOptions& options_;
  ControlLink& link_;
  StepExecutor& executor_;
  const std::function<void(ExitCode)> on_ending_;
  ResultWriter results_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::FrontendMessage> messages_;  // under mutex_
  std::optional<ExitCode> code_;              // under mutex_
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_LINK_WORKER_SESSION_H_
