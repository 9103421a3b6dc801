// What the scheduler costs per step, without a model: Schedule() and Apply() of decode steps of
// many sequences.
//
//   scheduler-benchmark [num_sequences] [num_steps]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "server/scheduler/scheduler.h"

namespace lockstep::server {
namespace {

using Clock = std::chrono::steady_clock;

double Microseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

// What a worker would answer: a token for each row. All rows of a decode step sample.
worker::v1::StepResult Answer(const worker::v1::StepPlan& plan) {
  worker::v1::StepResult result;
  result.set_step(plan.step());
  for (const worker::v1::ScheduledSlot& row : plan.scheduled()) {
    worker::v1::SampledToken& token = *result.add_sampled();
    token.set_slot(row.slot());
    token.set_position(row.position() + row.num_tokens());
    token.set_token_id(row.position() % 1000);
  }
  return result;
}

std::shared_ptr<const EngineRequest> MakeRequest(int num_steps) {
  auto request = std::make_shared<EngineRequest>();
  request->prompt.assign(128, 1);
  request->max_new_tokens = num_steps + 2;
  request->eos_token_ids = {-1};
  request->sampling.set_num_prompt_tokens(128);
  return request;
}

void Print(const char* what, std::vector<double> times) {
  std::sort(times.begin(), times.end());
  const auto at = [&times](double q) {
    return times[static_cast<size_t>(q * static_cast<double>(times.size() - 1))];
  };
  std::printf("%-8s p50 %7.1f us   p99 %7.1f us   max %7.1f us\n", what, at(0.5), at(0.99), at(1));
}

int Run(int num_sequences, int num_steps) {
  SchedulerOptions options;
  options.max_num_seqs = num_sequences;
  options.max_num_batched_tokens = 128 * num_sequences;
  options.max_model_len = 128 + num_steps + 2;
  options.max_steps_in_flight = 1;
  Scheduler scheduler(options);
  scheduler.Start(static_cast<uint32_t>(num_sequences * (options.max_model_len / 16 + 2)));
  for (int i = 0; i < num_sequences; ++i) {
    if (!scheduler.Add(static_cast<RequestHandle>(i + 1), MakeRequest(num_steps)).ok()) return 1;
  }
  std::vector<double> plan_times;
  std::vector<double> apply_times;
  size_t plan_bytes = 0;
  for (int step = 0; step <= num_steps; ++step) {
    const Clock::time_point start = Clock::now();
    const std::optional<worker::v1::StepPlan> plan = scheduler.Schedule(absl::UnixEpoch());
    const Clock::time_point planned = Clock::now();
    if (!plan.has_value()) return 1;
    worker::v1::StepResult result = Answer(*plan);
    const Clock::time_point answered = Clock::now();
    if (!scheduler.Apply(std::move(result), absl::UnixEpoch()).ok()) return 1;
    const size_t num_events = scheduler.TakeEvents().size();
    const Clock::time_point applied = Clock::now();
    if (step == 0) continue;  // the prefill
    if (num_events != static_cast<size_t>(num_sequences)) return 1;
    plan_times.push_back(Microseconds(planned - start));
    apply_times.push_back(Microseconds(applied - answered));
    plan_bytes = std::max(plan_bytes, plan->ByteSizeLong());
  }
  std::printf("%d running sequences, %d decode steps, plan of at most %zu bytes\n", num_sequences,
              num_steps, plan_bytes);
  Print("Schedule", plan_times);
  Print("Apply", apply_times);
  return 0;
}

}  // namespace
}  // namespace lockstep::server

int main(int argc, char** argv) {
  const int num_sequences = argc > 1 ? std::atoi(argv[1]) : 256;
  const int num_steps = argc > 2 ? std::atoi(argv[2]) : 2000;
  if (num_sequences < 1 || num_steps < 1) {
    std::fprintf(stderr, "usage: scheduler-benchmark [num_sequences] [num_steps]\n");
    return 2;
  }
  const int status = lockstep::server::Run(num_sequences, num_steps);
  if (status != 0) std::fprintf(stderr, "the scheduler did not do what was asked\n");
  return status;
}
