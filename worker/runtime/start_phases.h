#ifndef LOCKSTEP_WORKER_RUNTIME_START_PHASES_H_
#define LOCKSTEP_WORKER_RUNTIME_START_PHASES_H_

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "worker/runtime/step_plan.h"

namespace lockstep::worker {

// Times the phases of a start, which follow one another.
class StartPhases {
 public:
  // The phase under way, if any, ends, and one called `name` begins.
  void Begin(std::string name) {
    End();
    name_ = std::move(name);
    begin_ = std::chrono::steady_clock::now();
  }
  void End() {
    if (name_.empty()) return;
    phases_.push_back({std::exchange(name_, ""), std::chrono::steady_clock::now() - begin_});
  }

  // Those that have ended, in order.
  const std::vector<StartPhase>& phases() const { return phases_; }

 private:
  std::vector<StartPhase> phases_;
  std::string name_;
  std::chrono::steady_clock::time_point begin_;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_START_PHASES_H_
