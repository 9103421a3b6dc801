#include "tests/benchmarks/simulation/simulation.h"

#include <algorithm>
#include <queue>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/benchmarks/simulation/simulated_worker.h"

namespace lockstep::simulation {
namespace {

constexpr int64_t kProgressInterval = 10'000;

class Run {
 public:
  Run(const SimulationOptions& options, const std::function<void(int64_t)>& progress)
      : options_(options),
        progress_(progress),
        workload_(options.workload),
        scheduler_(options.scheduler),
        worker_(options.profile, options.scheduler.max_num_seqs, options.link),
        measurements_(options.profile, options.workload.num_tenants) {
    scheduler_.Start(
        static_cast<uint32_t>(options.profile.kv_tokens / options.scheduler.block_size));
  }

  absl::StatusOr<SimulationResult> ToTheEnd() {
    const absl::Time begin = absl::Now();
    absl::Duration elsewhere;
    while (true) {
      const absl::Time now = NextEvent();
      if (now == absl::InfiniteFuture()) break;
      now_ = now;
      const absl::Time made = absl::Now();
      std::vector<SimulatedRequest> arrived;
      while (!workload_.done() && workload_.next_arrival() <= now_) {
        arrived.push_back(workload_.Next());
      }
      elsewhere += absl::Now() - made;
      for (SimulatedRequest& request : arrived) Arrive(std::move(request));
      if (absl::Status status = Advance(); !status.ok()) return status;
    }
    if (!live_.empty()) {
      return absl::InternalError(absl::StrCat(live_.size(), " requests never ended"));
    }
    SimulationResult result = Collect();
    result.scheduling = absl::Now() - begin - elsewhere;
    return result;
  }

 private:
  absl::Time NextEvent() const {
    absl::Time next = std::min(worker_.NextResult(), scheduler_.NextDeadline());
    if (!workload_.done()) next = std::min(next, workload_.next_arrival());
    if (!cancellations_.empty()) next = std::min(next, cancellations_.top().first);
    return next;
  }

  void Arrive(SimulatedRequest request) {
    const server::RequestHandle handle = ++last_handle_;
    if (handle % kProgressInterval == 0) progress_(static_cast<int64_t>(handle));
    const auto num_tokens = static_cast<int64_t>(request.request->prompt.size());
    if (!scheduler_.CheckQueue(1, num_tokens).ok() ||
        !scheduler_.Add(handle, request.request).ok()) {
      measurements_.OnRefused();
      return;
    }
    if (request.cancelled != absl::InfiniteFuture())
      cancellations_.emplace(request.cancelled, handle);
    live_.emplace(handle, std::move(request));
  }

  absl::Status Advance() {
    while (!cancellations_.empty() && cancellations_.top().first <= now_) {
      scheduler_.Finish(cancellations_.top().second, v1::ABORTED, absl::OkStatus());
      cancellations_.pop();
    }
    scheduler_.Expire(now_);
    if (worker_.NextResult() <= now_) {
      const auto summary = scheduler_.Apply({worker_.TakeResult(), {}}, now_);
      if (!summary.ok()) return summary.status();
    }
    while (const auto plan = scheduler_.Schedule(now_)) {
      worker_.Submit(*plan, now_);
      kv_use_ += static_cast<double>(scheduler_.num_used_blocks()) / scheduler_.num_blocks();
    }
    for (const server::Event& event : scheduler_.TakeEvents()) {
      if (const auto* scheduled = std::get_if<server::ScheduledEvent>(&event.what)) {
        num_cached_tokens_ += scheduled->num_cached_tokens;
      } else if (const auto* completion = std::get_if<server::Completion>(&event.what)) {
        const auto it = live_.find(event.handle);
        if (it == live_.end()) return absl::InternalError("a request ended twice");
        measurements_.OnDone(it->second, *completion, now_);
        live_.erase(it);
      }
    }
    return absl::OkStatus();
  }

  SimulationResult Collect() {
    SimulationResult result;
    result.requests = measurements_.Summarize();
    result.simulated = now_ - absl::UnixEpoch();
    result.busy = worker_.busy();
    result.starved = worker_.starved();
    result.num_steps = worker_.num_steps();
    result.num_rows = worker_.num_rows();
    result.num_prompt_tokens = scheduler_.num_prompt_tokens();
    result.num_generated_tokens = scheduler_.num_generated_tokens();
    result.num_preemptions = scheduler_.num_preemptions();
    result.num_cached_tokens = num_cached_tokens_;
    result.mean_kv_use = kv_use_ / static_cast<double>(std::max<int64_t>(1, worker_.num_steps()));
    return result;
  }

  using Cancellation = std::pair<absl::Time, server::RequestHandle>;

  const SimulationOptions& options_;
  const std::function<void(int64_t)>& progress_;
  Workload workload_;
  server::Scheduler scheduler_;
  SimulatedWorker worker_;
  Measurements measurements_;
  absl::flat_hash_map<server::RequestHandle, SimulatedRequest> live_;
  std::priority_queue<Cancellation, std::vector<Cancellation>, std::greater<>> cancellations_;
  absl::Time now_ = absl::UnixEpoch();
  server::RequestHandle last_handle_ = 0;
  int64_t num_cached_tokens_ = 0;
  double kv_use_ = 0;
};

}  // namespace

absl::StatusOr<SimulationResult> Simulate(const SimulationOptions& options,
                                          const std::function<void(int64_t)>& progress) {
  return Run(options, progress).ToTheEnd();
}

}  // namespace lockstep::simulation
