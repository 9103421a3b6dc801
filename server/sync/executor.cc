#include "server/sync/executor.h"

#include <utility>

namespace lockstep::server {

Executor::Executor(int num_threads) {
  threads_.reserve(num_threads);
  for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { Run(); });
}

Executor::~Executor() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  for (auto& thread : threads_) thread.join();
}

void Executor::Post(Task task) {
  {
    MutexLock lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  changed_.NotifyOne();
}

void Executor::Run() {
  while (true) {
    Task task;
    {
      MutexLock lock(mutex_);
      // Woken by Post and by the destructor, which is how this thread always ends.
      while (tasks_.empty() && !stopping_) changed_.WaitFor(mutex_, absl::InfiniteDuration());
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    std::move(task)();
  }
}

void Strand::Post(Executor::Task task) {
  {
    MutexLock lock(state_->mutex);
    state_->waiting.push_back(std::move(task));
    if (std::exchange(state_->running, true)) return;
  }
  state_->executor.Post([state = state_] { Run(state); });
}

// Runs what is waiting now; what comes meanwhile goes to the end of the executor's queue, so that a
// busy strand does not keep a thread from the others.
void Strand::Run(const std::shared_ptr<State>& state) {
  std::vector<Executor::Task> tasks;
  {
    MutexLock lock(state->mutex);
    tasks.swap(state->waiting);
  }
  for (auto& task : tasks) std::move(task)();
  {
    MutexLock lock(state->mutex);
    if (state->waiting.empty()) {
      state->running = false;
      return;
    }
  }
  state->executor.Post([state] { Run(state); });
}

}  // namespace lockstep::server
