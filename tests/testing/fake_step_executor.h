// A rank without a model, for tests of the link: mirrors slots as plans say, chooses tokens by a
// rule, and fails on demand.
#ifndef LOCKSTEP_TESTS_TESTING_FAKE_STEP_EXECUTOR_H_
#define LOCKSTEP_TESTS_TESTING_FAKE_STEP_EXECUTOR_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <fstream>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "worker/runtime/step_executor.h"

namespace lockstep::testing {

enum class Fault {
  kNone,
  kFailLoad,
  kHangInLoad,
  kCrashInLoad,
  kFailStart,
  kCrashAtStep,
  kHangAtStep,      // until Abort
  kHangHardAtStep,  // whatever happens
  kFailAtStep,
  kThrowAtStep,
  kWrongHashAtStep,
  kLeaveAtStep,  // fails as a rank does that misses another one
};

struct FakeExecutorOptions {
  Fault fault = Fault::kNone;
  int faulty_rank = 0;
  uint64_t faulty_step = 1;
  uint64_t num_kv_blocks = 100;  // rank r reports this less r
  uint32_t vocab_size = 64;
  // What a step takes beside the bookkeeping, as a model would.
  std::chrono::microseconds step_time{0};
  // Where every step's begin and end go, in Chrome's trace format; "" for nowhere.
  std::string trace_path;
};

class FakeStepExecutor final : public worker::StepExecutor {
 public:
  explicit FakeStepExecutor(const FakeExecutorOptions& options)
      : options_(options), trace_(options.trace_path) {}

  absl::StatusOr<worker::LoadedInfo> Load(const worker::WorkerConfig& config, int rank,
                                          int world_size,
                                          worker::LoadProgressCallback progress) override;
  absl::Status Start(uint64_t num_kv_blocks, const std::string& communicator_handle) override;
  absl::Status Begin(const worker::StepPlan& plan) override;
  absl::StatusOr<worker::StepResult> Finish() override { return std::move(result_); }
  void AddMasks(worker::TokenMasks masks) override;
  void Abort() override;

  // The token after `tokens`.
  static uint32_t NextToken(const std::vector<uint32_t>& tokens, uint32_t vocab_size);

 private:
  bool Has(Fault fault) const { return rank_ == options_.faulty_rank && options_.fault == fault; }
  absl::StatusOr<worker::StepResult> Carry(const worker::StepPlan& plan);
  absl::Status WaitForAbort();
  absl::Status Misbehave(worker::StepResult& result);
  void Run(const worker::ScheduledSlot& scheduled, const worker::TokenMasks& masks,
           worker::StepResult& result);
  // Of the logits of so many rows that this rank reports: of one all on rank 0, of more its part.
  uint32_t NumColumns(uint32_t num_rows) const;
  // Empty where the step has no guided rows, on other ranks than the first, or when aborted.
  worker::TokenMasks WaitForMasks(const worker::StepPlan& plan);
  void Trace(uint64_t step, std::chrono::steady_clock::time_point begin);

  const FakeExecutorOptions options_;
  int rank_ = 0;
  int world_size_ = 1;
  std::map<uint32_t, worker::AdmittedSlot> slots_;
  uint64_t state_hash_ = 0;
  worker::StepResult result_;
  std::ofstream trace_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_aborted_ = false;               // under mutex_
  std::deque<worker::TokenMasks> masks_;  // under mutex_
};

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_FAKE_STEP_EXECUTOR_H_
