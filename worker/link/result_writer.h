// Sends step results while the next step runs.
#ifndef LOCKSTEP_WORKER_LINK_RESULT_WRITER_H_
#define LOCKSTEP_WORKER_LINK_RESULT_WRITER_H_

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "worker/link/control_link.h"
#include "worker/runtime/step_plan.h"

namespace lockstep::worker {

// A thread of its own serializes and writes, in order. What waits is bounded by the steps that the
// frontend has in flight. Thread-safe.
class ResultWriter {
 public:
  // `link` must outlive this.
  explicit ResultWriter(ControlLink& link);
  // Drops what has not been written; the link must have ended, or nothing be under way.
  ~ResultWriter();
  ResultWriter(const ResultWriter&) = delete;
  ResultWriter& operator=(const ResultWriter&) = delete;

  // False once the link has broken.
  bool Push(StepResult result);

  // Returns when all that was pushed has been written, or the link has broken.
  void Flush();

 private:
  void Run();
  bool Write(StepResult result);

  ControlLink& link_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<StepResult> results_;  // under mutex_; the first is being written
  bool broken_ = false;             // under mutex_
  bool stopping_ = false;           // under mutex_
  std::thread thread_;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_LINK_RESULT_WRITER_H_
