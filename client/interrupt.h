// Ctrl-C as an ordinary callback instead of a signal handler.
#ifndef LOCKSTEP_CLIENT_INTERRUPT_H_
#define LOCKSTEP_CLIENT_INTERRUPT_H_

#include <pthread.h>

#include <functional>
#include <mutex>
#include <thread>

namespace lockstep::client {

// While it lives, a thread of its own waits for SIGINT and SIGTERM and runs the callback that is
// set. Gone are the limits of signal handlers: the callback may lock, and may cancel an RPC.
class InterruptWatch {
 public:
  // Blocks the signals in the calling thread and in those that it starts later: construct before
  // any other thread.
  explicit InterruptWatch(std::function<void(int signal)> on_interrupt);
  ~InterruptWatch();
  InterruptWatch(const InterruptWatch&) = delete;
  InterruptWatch& operator=(const InterruptWatch&) = delete;

 private:
  friend class ScopedInterrupt;

  // Returns the former callback, when no call of it is under way.
  std::function<void(int)> Exchange(std::function<void(int)> on_interrupt);
  void Run();

  std::mutex mutex_;
  std::function<void(int)> on_interrupt_;  // guarded by mutex_
  bool stopping_ = false;                  // guarded by mutex_
  std::thread thread_;
};

// Another callback for as long as this lives; then the former one again. They nest.
class ScopedInterrupt {
 public:
  ScopedInterrupt(InterruptWatch& watch, std::function<void(int signal)> on_interrupt);
  // Returns when no call of the callback is under way.
  ~ScopedInterrupt();
  ScopedInterrupt(const ScopedInterrupt&) = delete;
  ScopedInterrupt& operator=(const ScopedInterrupt&) = delete;

 private:
  InterruptWatch& watch_;
  std::function<void(int)> former_;
};

}  // namespace lockstep::client

#endif  // LOCKSTEP_CLIENT_INTERRUPT_H_
