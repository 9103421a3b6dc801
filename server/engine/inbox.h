// How other threads reach the engine's: a queue of commands.
#ifndef LOCKSTEP_SERVER_ENGINE_INBOX_H_
#define LOCKSTEP_SERVER_ENGINE_INBOX_H_

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "lockstep/v1/generate.pb.h"
#include "lockstep/worker/v1/control_link.pb.h"
#include "server/engine/guided_answer.h"
#include "server/engine/output_sink.h"
#include "server/engine/request.h"
#include "server/sync/mutex.h"
#include "server/worker_pool/worker_pool.h"

namespace lockstep::server {

// Requests that came together.
struct SubmitCommand {
  struct Member {
    RequestHandle handle = 0;
    std::shared_ptr<const EngineRequest> request;
    std::shared_ptr<OutputSink> sink;
  };
  std::vector<Member> members;
};
struct FinishCommand {
  RequestHandle handle = 0;
  v1::FinishReason reason = v1::FINISH_REASON_UNSPECIFIED;
  absl::Status status;
  absl::Time since;
};
struct DrainCommand {};
struct PoolReadyCommand {
  PoolCapacity capacity;
};
struct PoolFailedCommand {
  absl::Status status;
};
struct StopCommand {};
// GuideStep, a command too: what may come next in a guided answer.

using Command = std::variant<SubmitCommand, FinishCommand, DrainCommand, PoolReadyCommand,
                             PoolFailedCommand, StepResult, GuideStep, StopCommand>;

// Commands in the order in which they came. Never blocks a sender: what is in it is taken out as a
// whole, each time the engine's thread comes round. Thread-safe.
class Inbox {
 public:
  // False, with nothing changed, after Close().
  bool Push(Command&& command) {
    MutexLock lock(mutex_);
    if (closed_) return false;
    commands_.push_back(std::move(command));
    not_empty_.NotifyOne();
    return true;
  }

  // Waits for commands, for at most `timeout` of real time, and takes all of them.
  std::vector<Command> Wait(absl::Duration timeout) {
    MutexLock lock(mutex_);
    while (commands_.empty() && timeout > absl::ZeroDuration()) {
      if (!not_empty_.WaitFor(mutex_, timeout)) break;
    }
    return std::exchange(commands_, {});
  }

  // Takes what is left, and nothing more from now on.
  std::vector<Command> Close() {
    MutexLock lock(mutex_);
    closed_ = true;
    return std::exchange(commands_, {});
  }

 private:
  Mutex mutex_;
  CondVar not_empty_;
  std::vector<Command> commands_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ENGINE_INBOX_H_
