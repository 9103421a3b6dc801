// A scheduler, a worker that checks its plans, and what every request has received.
#ifndef LOCKSTEP_TESTS_UNIT_SERVER_SCHEDULER_SCHEDULER_HARNESS_H_
#define LOCKSTEP_TESTS_UNIT_SERVER_SCHEDULER_SCHEDULER_HARNESS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/scheduler/scheduler.h"
#include "tests/testing/fake_worker.h"

namespace lockstep::server {

// Of four short sequences, in blocks of 4 tokens and steps of at most 16.
SchedulerOptions SmallOptions();

// What became of one request.
struct Outcome {
  std::shared_ptr<const EngineRequest> request;
  std::vector<int32_t> answer;
  bool has_end_token = false;          // the last one was said to end the answer
  std::vector<int32_t> prompt_tokens;  // those that came with their log probabilities
  std::vector<float> logits;
  uint32_t num_logit_rows = 0;
  int num_scheduled = 0;
  int num_preemptions = 0;
  std::optional<Completion> completion;
};

class SchedulerHarness {
 public:
  static constexpr int32_t kVocabSize = 64;

  // The context is no longer than the blocks hold.
  SchedulerHarness(const SchedulerOptions& options, uint32_t num_blocks);
  // With a model that answers with `script`, over and over, whatever the prompt.
  SchedulerHarness(const SchedulerOptions& options, uint32_t num_blocks,
                   std::vector<int32_t> script);

  // A request of `num_prompt_tokens` tokens that differ from those of other requests.
  EngineRequest MakeRequest(int32_t num_prompt_tokens, int32_t max_new_tokens);
  // The handle, whether or not the request is taken; see `last_add`.
  RequestHandle Add(EngineRequest request);
  void Start() { scheduler.Start(worker_options_.num_kv_blocks); }

  // Plans a step and gives it to the worker. None if the scheduler has none.
  std::optional<worker::v1::StepPlan> Schedule();
  // Runs the oldest step that was planned, and applies its result. False if there is none.
  bool Apply();
  // Schedules and applies until nothing is left to do, or after `max_num_steps`.
  void RunAll(int max_num_steps = 100000);
  // Takes in the events of the scheduler's calls so far.
  void Deliver();

  Outcome& outcome(RequestHandle handle) { return outcomes.at(handle); }
  // The tokens that `request` gets from the fake model when it is alone.
  std::vector<int32_t> AnswerAlone(const EngineRequest& request, Completion* completion) const;

  const SchedulerOptions options;
  Scheduler scheduler;
  absl::Time now = absl::UnixEpoch();
  absl::Status last_add;
  std::map<RequestHandle, Outcome> outcomes;
  std::optional<StepSummary> last_summary;
  // Of all steps.
  int64_t num_tokens_run = 0;
  int64_t num_recomputed_tokens = 0;

 private:
  testing::FakeWorkerOptions worker_options_;
  testing::FakeWorker worker_;
  RequestHandle next_handle_ = 1;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_TESTS_UNIT_SERVER_SCHEDULER_SCHEDULER_HARNESS_H_
