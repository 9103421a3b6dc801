#include "server/app/process_events.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "process/monotonic_time.h"
#include "process/termination_signals.h"

namespace lockstep::server {
ProcessEvents::ProcessEvents()
    : signal_fd_(TakeTerminationSignals()), wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void ProcessEvents::SetPoolReady() {
  {
    MutexLock lock(mutex_);
    is_ready_ = true;
  }
  Wake();
}

void ProcessEvents::SetPoolFailed(const absl::Status& status) {
  {
    MutexLock lock(mutex_);
    has_failed_ = true;
    failure_ = status;
  }
  Wake();
}

void ProcessEvents::Wake() {
  const uint64_t one = 1;
  // Fails only where the counter is full: then the waiting thread is about to wake anyway.
  [[maybe_unused]] const ssize_t written = write(wake_fd_.get(), &one, sizeof(one));
}

bool ProcessEvents::TakeReady() {
  MutexLock lock(mutex_);
  return std::exchange(is_ready_, false);
}

bool ProcessEvents::TakeFailed() {
  MutexLock lock(mutex_);
  return std::exchange(has_failed_, false);
}

absl::Status ProcessEvents::pool_failure() const {
  MutexLock lock(mutex_);
  return failure_;
}

ProcessEvent ProcessEvents::Wait(absl::Duration timeout) {
  const absl::Time deadline = MonotonicNow() + timeout;
  while (true) {
    if (TakeFailed()) return ProcessEvent::kPoolFailed;
    if (TakeReady()) return ProcessEvent::kPoolReady;
    pollfd fds[] = {{signal_fd_.get(), POLLIN, 0}, {wake_fd_.get(), POLLIN, 0}};
    const absl::Duration left =
        std::clamp(deadline - MonotonicNow(), absl::ZeroDuration(), absl::Hours(1));
    const timespec wait = absl::ToTimespec(left);
    const int num_ready = ppoll(fds, 2, &wait, nullptr);
    signalfd_siginfo info;
    if (num_ready > 0 && read(signal_fd_.get(), &info, sizeof(info)) == sizeof(info)) {
      signal_ = static_cast<int>(info.ssi_signo);
      return ProcessEvent::kSignal;
    }
    uint64_t ignored = 0;
    const bool was_woken = read(wake_fd_.get(), &ignored, sizeof(ignored)) > 0;
    if (!was_woken && MonotonicNow() >= deadline) return ProcessEvent::kTimeout;
  }
}

}  // namespace lockstep::server
