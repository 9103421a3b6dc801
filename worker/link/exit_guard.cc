#include "worker/link/exit_guard.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <utility>

#include "process/termination_signals.h"

namespace lockstep::worker {

ExitGuard::ExitGuard(int death_fd)
    : death_fd_(death_fd),
      signal_fd_(TakeTerminationSignals()),
      wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

ExitGuard::~ExitGuard() {
  is_done_ = true;
  Wake();
  if (thread_.joinable()) thread_.join();
  close(signal_fd_);
  close(wake_fd_);
}

void ExitGuard::Run(std::function<void(ExitCode)> on_end) {
  thread_ = std::thread([this, on_end = std::move(on_end)] { Loop(on_end); });
}

void ExitGuard::ExitSoon(ExitCode code) {
  int none = kNone;
  if (code_.compare_exchange_strong(none, static_cast<int>(code))) Wake();
}

void ExitGuard::Wake() {
  const uint64_t one = 1;
  // Fails only where the counter is full: then the thread is about to wake anyway.
  [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof(one));
}

ExitCode ExitGuard::WaitForEnd() {
  while (true) {
    // poll passes over negative descriptors.
    pollfd fds[] = {{wake_fd_, POLLIN, 0}, {signal_fd_, POLLIN, 0}, {death_fd_, POLLIN, 0}};
    if (poll(fds, 3, -1) < 0) continue;
    if (is_done_ || code_ != kNone) return static_cast<ExitCode>(code_.load());
    if (fds[1].revents != 0 && TakeSignal()) return ExitCode::kGoodbye;
    if (fds[2].revents != 0) return ExitCode::kFrontendGone;
  }
}

bool ExitGuard::TakeSignal() {
  signalfd_siginfo info{};
  if (read(signal_fd_, &info, sizeof(info)) != sizeof(info)) return false;
  if (death_fd_ < 0 || static_cast<pid_t>(info.ssi_pid) == getppid()) return true;
  std::fprintf(stderr, "signal %u of process %u is left to the frontend, which has its own\n",
               info.ssi_signo, info.ssi_pid);
  return false;
}

void ExitGuard::Loop(const std::function<void(ExitCode)>& on_end) {
  const ExitCode code = WaitForEnd();
  if (is_done_) return;
  ExitSoon(code);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  on_end(static_cast<ExitCode>(code_.load()));
  while (!is_done_) {
    uint64_t ignored = 0;
    [[maybe_unused]] const ssize_t size = read(wake_fd_, &ignored, sizeof(ignored));
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) _exit(code_);
    pollfd wake = {wake_fd_, POLLIN, 0};
    if (!is_done_) poll(&wake, 1, static_cast<int>(left.count()));
  }
}

}  // namespace lockstep::worker
