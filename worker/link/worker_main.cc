#include "worker/link/worker_main.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <map>
#include <mutex>
#include <string>

#include "absl/strings/string_view.h"
#include "process/write_signals.h"
#include "worker/link/control_link.h"
#include "worker/link/exit_guard.h"
#include "worker/link/worker_options.h"
#include "worker/link/worker_session.h"
#include "worker/memory/result_memory.h"

namespace lockstep::worker {
namespace {

std::map<std::string, std::string> ProcessEnvironment() {
  std::map<std::string, std::string> result;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const absl::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals != text.npos) {
      result.emplace(std::string(text.substr(0, equals)), std::string(text.substr(equals + 1)));
    }
  }
  return result;
}

// The session that the guard may end; none while the frontend is dialled and after the session's
// end.
class CurrentSession {
 public:
  void Set(WorkerSession* session) {
    const std::lock_guard<std::mutex> lock(mutex_);
    session_ = session;
  }
  // Without a session nobody need be told.
  void EndOrExit(ExitCode code) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (session_ == nullptr) _exit(static_cast<int>(code));
    session_->End(code);
  }

 private:
  std::mutex mutex_;
  WorkerSession* session_ = nullptr;  // under mutex_
};

// Large results are sent instead where this fails.
void UseResultFile(int fd) {
  if (fd < 0) return;
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  if (ResultMemory::OfProcess().UseFile(fd)) return;
  std::fprintf(stderr, "cannot map the frontend's file for results (%s): they are sent instead\n",
               strerrordesc_np(errno));
}

ExitCode Serve(const WorkerOptions& options, ExitGuard& guard, CurrentSession& current,
               const std::function<std::unique_ptr<StepExecutor>()>& make_executor) {
  auto link = ControlLink::Dial(options.frontend, options.dial_timeout);
  if (!link.ok()) {
    std::fprintf(stderr, "%s\n", std::string(link.status().message()).c_str());
    return ExitCode::kNotAttached;
  }
  const std::unique_ptr<StepExecutor> executor = make_executor();
  WorkerSession session(options, **link, *executor,
                        [&guard](ExitCode code) { guard.ExitSoon(code); });
  current.Set(&session);
  const ExitCode code = session.Run();
  current.Set(nullptr);
  return code;
}

}  // namespace

int WorkerMain(int argc, const char* const* argv,
               const std::function<std::unique_ptr<StepExecutor>()>& make_executor) {
  const auto command_line = ParseWorkerOptions(argc, argv, ProcessEnvironment());
  if (!command_line.ok()) {
    std::fprintf(stderr, "lockstep-worker: %s\n",
                 std::string(command_line.status().message()).c_str());
    return static_cast<int>(ExitCode::kBadUsage);
  }
  if (!command_line->text_to_print.empty()) {
    std::fputs(command_line->text_to_print.c_str(), stdout);
    return static_cast<int>(ExitCode::kGoodbye);
  }
  IgnoreWriteSignals();
  const WorkerOptions& options = command_line->options;
  if (options.death_fd >= 0) fcntl(options.death_fd, F_SETFD, FD_CLOEXEC);
  UseResultFile(options.result_fd);
  CurrentSession current;
  ExitGuard guard(options.death_fd);
  guard.Run([&current](ExitCode code) { current.EndOrExit(code); });
  return static_cast<int>(Serve(options, guard, current, make_executor));
}

}  // namespace lockstep::worker
