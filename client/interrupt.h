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

  // Replaces the callback; returns when no call of the former one is under way.
  void Set(std::function<void(int signal)> on_interrupt);

 private:
  void Run();

  std::mutex mutex_;
  std::function<void(int)> on_interrupt_;  // guarded by mutex_
  bool stopping_ = false;                  // guarded by mutex_
  std::thread thread_;
};

}  // namespace lockstep::client

#endif  // LOCKSTEP_CLIENT_INTERRUPT_H_
