#include "client/interrupt.h"

#include <csignal>
#include <utility>

namespace lockstep::client {
namespace {

// SIGUSR1 ends the waiting thread.
sigset_t WatchedSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGUSR1);
  return set;
}

}  // namespace

InterruptWatch::InterruptWatch(std::function<void(int)> on_interrupt)
    : on_interrupt_(std::move(on_interrupt)) {
  const sigset_t set = WatchedSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = std::thread([this] { Run(); });
}

InterruptWatch::~InterruptWatch() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  pthread_kill(thread_.native_handle(), SIGUSR1);
  thread_.join();
}

std::function<void(int)> InterruptWatch::Exchange(std::function<void(int)> on_interrupt) {
  std::lock_guard lock(mutex_);
  return std::exchange(on_interrupt_, std::move(on_interrupt));
}

void InterruptWatch::Run() {
  const sigset_t set = WatchedSignals();
  while (true) {
    int signal = 0;
    if (sigwait(&set, &signal) != 0) continue;
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    if (signal != SIGUSR1 && on_interrupt_) on_interrupt_(signal);
  }
}

ScopedInterrupt::ScopedInterrupt(InterruptWatch& watch, std::function<void(int)> on_interrupt)
    : watch_(watch), former_(watch.Exchange(std::move(on_interrupt))) {}

ScopedInterrupt::~ScopedInterrupt() { watch_.Exchange(std::move(former_)); }

}  // namespace lockstep::client
