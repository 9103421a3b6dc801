#include "tests/benchmarks/simulation/simulated_worker.h"

#include <algorithm>
#include <utility>

#include "tests/benchmarks/simulation/workload.h"

namespace lockstep::simulation {

SimulatedWorker::SimulatedWorker(const PoolProfile& profile, int max_num_seqs, absl::Duration link)
    : profile_(profile), link_(link), slots_(static_cast<size_t>(max_num_seqs)) {}

void SimulatedWorker::Submit(const worker::v1::StepPlan& plan, absl::Time now) {
  for (const worker::v1::AdmittedSlot& admitted : plan.admitted()) {
    slots_[admitted.slot()] = {static_cast<uint32_t>(admitted.token_ids_size()),
                               admitted.sampling().seed()};
  }
  Pending pending;
  pending.result.set_step(plan.step());
  int64_t num_tokens = 0, num_kv_tokens = 0;
  for (const worker::v1::ScheduledSlot& row : plan.scheduled()) {
    Slot& slot = slots_[row.slot()];
    const uint32_t end = row.position() + row.num_tokens();
    num_tokens += row.num_tokens();
    num_kv_tokens += int64_t{end} * ((row.num_tokens() + kRowsPerRead - 1) / kRowsPerRead);
    if (end < slot.num_known) continue;
    worker::v1::SampledToken& token = *pending.result.add_sampled();
    token.set_slot(row.slot());
    token.set_position(slot.num_known);
    token.set_token_id(static_cast<uint32_t>(AnswerToken(slot.seed, slot.num_known)));
    ++slot.num_known;
  }
  const absl::Duration duration = StepDuration(profile_, num_tokens, num_kv_tokens);
  pending.result.set_duration_ns(static_cast<uint64_t>(absl::ToInt64Nanoseconds(duration)));
  const absl::Time arrived = now + link_;
  const absl::Time start = std::max(arrived, free_at_);
  // A longer gap is one without work.
  const absl::Duration gap = start - free_at_;
  if (num_steps_ > 0 && gap <= 3 * link_) starved_ += gap;
  free_at_ = start + duration;
  pending.back = free_at_ + link_;
  pending_.push_back(std::move(pending));
  busy_ += duration;
  ++num_steps_;
  num_rows_ += plan.scheduled_size();
}

absl::Time SimulatedWorker::NextResult() const {
  return pending_.empty() ? absl::InfiniteFuture() : pending_.front().back;
}

worker::v1::StepResult SimulatedWorker::TakeResult() {
  worker::v1::StepResult result = std::move(pending_.front().result);
  pending_.pop_front();
  return result;
}

}  // namespace lockstep::simulation
