#include "server/worker_pool/process_watch.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "process/monotonic_time.h"

namespace lockstep::server {
namespace {

// How often a process without an exit descriptor is looked at.
constexpr absl::Duration kReapInterval = absl::Milliseconds(20);

}  // namespace

ProcessWatch::ProcessWatch(ProcessWatchListener& listener, absl::Duration longest_wait)
    : listener_(listener),
      longest_wait_(longest_wait),
      wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

ProcessWatch::~ProcessWatch() {
  {
    MutexLock lock(mutex_);
    is_stopping_ = true;
  }
  Wake();
  if (thread_.joinable()) thread_.join();
}

void ProcessWatch::Run(std::vector<std::unique_ptr<WorkerProcess>> processes) {
  for (auto& process : processes) {
    const auto rank = static_cast<uint32_t>(watched_.size());
    watched_.push_back({std::move(process), OutputTag(rank)});
  }
  {
    MutexLock lock(mutex_);
    num_running_ = watched_.size();
  }
  thread_ = std::thread([this] { Loop(); });
}

void ProcessWatch::Wake() {
  const uint64_t one = 1;
  // Fails only where the counter is full: then the thread is about to wake anyway.
  [[maybe_unused]] const ssize_t written = write(wake_fd_.get(), &one, sizeof(one));
}

void ProcessWatch::EndAll(absl::Time terminate_at, absl::Time kill_at) {
  {
    MutexLock lock(mutex_);
    terminate_at_ = std::min(terminate_at_, terminate_at);
    kill_at_ = std::min(kill_at_, kill_at);
  }
  Wake();
}

bool ProcessWatch::WaitUntilAllEnded(absl::Time deadline) {
  MutexLock lock(mutex_);
  while (num_running_ > 0) {
    const absl::Duration left = deadline - MonotonicNow();
    if (left <= absl::ZeroDuration()) return false;
    changed_.WaitFor(mutex_, left);
  }
  return true;
}

void ProcessWatch::Loop() {
  while (true) {
    {
      MutexLock lock(mutex_);
      if (is_stopping_) return;
    }
    const absl::Time next = std::min(listener_.OnWatchTime(), NextSignal());
    Poll(next);
    CheckOutput();
    CheckEnds();
    SendSignals(MonotonicNow());
  }
}

absl::Time ProcessWatch::NextSignal() const {
  MutexLock lock(mutex_);
  absl::Time next = absl::InfiniteFuture();
  for (const Watched& each : watched_) {
    if (each.process->has_ended()) continue;
    if (!each.was_terminated) next = std::min(next, terminate_at_);
    if (!each.was_killed) next = std::min(next, kill_at_);
  }
  return next;
}

void ProcessWatch::Poll(absl::Time until) {
  std::vector<pollfd> fds = {{wake_fd_.get(), POLLIN, 0}};
  absl::Duration wait = longest_wait_;
  for (const Watched& each : watched_) {
    if (each.process->output_fd() >= 0) fds.push_back({each.process->output_fd(), POLLIN, 0});
    if (each.process->has_ended()) continue;
    if (each.process->exit_fd() >= 0) {
      fds.push_back({each.process->exit_fd(), POLLIN, 0});
    } else {
      wait = std::min(wait, kReapInterval);
    }
  }
  wait = std::clamp(until - MonotonicNow(), absl::ZeroDuration(), wait);
  const timespec timeout = absl::ToTimespec(wait);
  ppoll(fds.data(), fds.size(), &timeout, nullptr);
  uint64_t ignored = 0;
  [[maybe_unused]] const ssize_t size = read(wake_fd_.get(), &ignored, sizeof(ignored));
}

void ProcessWatch::CheckOutput() {
  for (Watched& each : watched_) {
    const int fd = each.process->output_fd();
    if (fd >= 0 && !each.output.Relay(fd)) each.process->CloseOutput();
  }
}

void ProcessWatch::CheckEnds() {
  for (uint32_t rank = 0; rank < watched_.size(); ++rank) {
    Watched& each = watched_[rank];
    if (each.process->has_ended() || !each.process->Reap().has_value()) continue;
    // What it printed last; a child of its own may still hold the pipe, so the end is not waited
    // for.
    if (each.process->output_fd() >= 0) each.output.Relay(each.process->output_fd());
    each.process->CloseOutput();
    std::string how = *each.process->Reap();
    // One that ended well did not say why.
    if (absl::StartsWith(how, "exited") && how != "exited with status 0" &&
        !each.output.last_line().empty()) {
      absl::StrAppend(&how, ", saying: ", each.output.last_line().substr(0, 500));
    }
    listener_.OnProcessEnded(rank, how);
    MutexLock lock(mutex_);
    --num_running_;
    changed_.NotifyAll();
  }
}

void ProcessWatch::SendSignals(absl::Time now) {
  absl::Time terminate_at;
  absl::Time kill_at;
  {
    MutexLock lock(mutex_);
    terminate_at = terminate_at_;
    kill_at = kill_at_;
  }
  for (Watched& each : watched_) {
    if (now >= terminate_at && !std::exchange(each.was_terminated, true)) {
      each.process->Signal(SIGTERM);
    }
    if (now >= kill_at && !std::exchange(each.was_killed, true)) each.process->Signal(SIGKILL);
  }
}

}  // namespace lockstep::server
