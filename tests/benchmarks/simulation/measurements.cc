#include "tests/benchmarks/simulation/measurements.h"

#include <algorithm>
#include <numeric>

namespace lockstep::simulation {
namespace {

float Seconds(absl::Duration duration) {
  return static_cast<float>(absl::ToDoubleSeconds(duration));
}

template <size_t kSize>
std::array<Percentiles, kSize> MakeEach(std::array<std::vector<float>, kSize>& groups) {
  std::array<Percentiles, kSize> result;
  for (size_t i = 0; i < kSize; ++i) result[i] = MakePercentiles(groups[i]);
  return result;
}

}  // namespace

Percentiles MakePercentiles(std::vector<float>& values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&values](double q) {
    return static_cast<double>(
        values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))]);
  };
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return {sum / static_cast<double>(values.size()), at(0.5), at(0.9), at(0.99), at(1)};
}

double JainIndex(const std::vector<double>& values) {
  double sum = 0, squares = 0;
  for (double value : values) {
    sum += value;
    squares += value * value;
  }
  return squares == 0 ? 1 : sum * sum / (static_cast<double>(values.size()) * squares);
}

Measurements::Measurements(const PoolProfile& profile, int num_tenants)
    : profile_(profile),
      slowdown_(static_cast<size_t>(num_tenants)),
      num_slowdown_(static_cast<size_t>(num_tenants)) {}

double Measurements::AloneSeconds(const server::EngineRequest& request, int32_t num_tokens) const {
  const auto num_prompt_tokens = static_cast<int64_t>(request.prompt.size());
  const absl::Duration prefill = StepDuration(profile_, num_prompt_tokens, num_prompt_tokens);
  const absl::Duration decode = StepDuration(profile_, 1, num_prompt_tokens + num_tokens / 2);
  return absl::ToDoubleSeconds(prefill + (num_tokens - 1) * decode);
}

void Measurements::OnDone(const SimulatedRequest& simulated, const server::Completion& completion,
                          absl::Time now) {
  const server::EngineRequest& request = *simulated.request;
  if (completion.first_scheduled != absl::InfinitePast()) {
    const float queued = Seconds(completion.first_scheduled - request.arrival);
    queue_.push_back(queued);
    queue_by_priority_[static_cast<size_t>(request.priority + 1)].push_back(queued);
    const size_t length = request.prompt.size() <= 512 ? 0 : request.prompt.size() <= 2048 ? 1 : 2;
    queue_by_length_[length].push_back(queued);
  }
  if (completion.reason == v1::ABORTED) {
    ++counts_.cancelled;
    return;
  }
  if (!completion.status.ok()) {
    ++(absl::IsDeadlineExceeded(completion.status) ? counts_.deadline_exceeded : counts_.failed);
    return;
  }
  ++counts_.completed;
  const int32_t num_tokens = completion.num_completion_tokens;
  const float ttft = Seconds(completion.first_token - request.arrival);
  const float tpot = num_tokens < 2 ? 0.0F
                                    : Seconds(completion.last_token - completion.first_token) /
                                          static_cast<float>(num_tokens - 1);
  const float e2e = Seconds(now - request.arrival);
  ttft_.push_back(ttft);
  if (num_tokens > 1) tpot_.push_back(tpot);
  e2e_.push_back(e2e);
  if (ttft <= Seconds(profile_.ttft_objective) && tpot <= Seconds(profile_.tpot_objective)) {
    ++counts_.within_objective;
  }
  const auto tenant = static_cast<size_t>(simulated.tenant);
  slowdown_[tenant] += e2e / AloneSeconds(request, num_tokens);
  ++num_slowdown_[tenant];
}

Measurements::Summary Measurements::Summarize() {
  Summary summary = counts_;
  summary.refused = num_refused_;
  summary.queue = MakePercentiles(queue_);
  summary.ttft = MakePercentiles(ttft_);
  summary.tpot = MakePercentiles(tpot_);
  summary.e2e = MakePercentiles(e2e_);
  summary.queue_by_priority = MakeEach(queue_by_priority_);
  summary.queue_by_length = MakeEach(queue_by_length_);
  std::vector<double> means;
  for (size_t i = 0; i < slowdown_.size(); ++i) {
    if (num_slowdown_[i] > 0) means.push_back(slowdown_[i] / static_cast<double>(num_slowdown_[i]));
  }
  summary.fairness_over_tenants = JainIndex(means);
  return summary;
}

}  // namespace lockstep::simulation
