// The requests of a simulation: lengths, arrivals and habits like those of public traces.
#ifndef LOCKSTEP_TESTS_BENCHMARKS_SIMULATION_WORKLOAD_H_
#define LOCKSTEP_TESTS_BENCHMARKS_SIMULATION_WORKLOAD_H_

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "absl/time/time.h"
#include "server/scheduler/request.h"

namespace lockstep::simulation {

// Lengths follow the Azure LLM inference trace of 2023 ("conversation": prompts with a median of
// 928 and a mean of 1155 tokens, answers with 129 and 211), as log-normal distributions. Times
// between arrivals follow a gamma distribution, whose shape below 1 makes bursts (BurstGPT, Wang et
// al. 2024).
struct WorkloadOptions {
  int64_t num_requests = 1'000'000;
  double request_rate = 14;       // per second
  double burst_shape = 0.5;       // 1: a Poisson process
  int num_tenants = 20;           // popularity falls as 1 / rank
  double shared_share = 0.5;      // of requests that begin with their tenant's system prompt
  double follow_up_share = 0.25;  // of requests that continue an earlier conversation
  double deadline_share = 0.2;    // of requests with a deadline
  double cancel_share = 0.03;     // of requests whose client goes away
  int max_model_len = 8192;
  uint64_t seed = 1;
};

struct SimulatedRequest {
  std::shared_ptr<const server::EngineRequest> request;
  int tenant = 0;
  // InfiniteFuture: never.
  absl::Time cancelled = absl::InfiniteFuture();
};

// The token that a simulated sequence has at `position` of its answer.
int32_t AnswerToken(uint64_t sequence_seed, uint32_t position);

// Deterministic for given options. Requests come in order of arrival, the first at the Unix epoch.
class Workload {
 public:
  explicit Workload(const WorkloadOptions& options);

  bool done() const { return num_made_ == options_.num_requests; }
  // The next request's arrival. Precondition: !done().
  absl::Time next_arrival() const { return next_arrival_; }
  SimulatedRequest Next();

 private:
  struct Conversation {
    std::vector<int32_t> tokens;  // prompt and answer
    int tenant = 0;
  };

  int32_t DrawLength(double median, double mean, int32_t minimum, int32_t maximum);
  int DrawTenant();
  bool Chance(double probability);
  std::vector<int32_t> MakePrompt(int& tenant);
  void Append(std::vector<int32_t>& tokens, int32_t count, uint64_t seed) const;
  void Remember(const server::EngineRequest& request, int tenant);

  const WorkloadOptions options_;
  std::mt19937_64 random_;
  std::vector<double> tenant_popularity_;
  std::vector<int32_t> system_prompt_lengths_;
  std::vector<Conversation> conversations_;  // a ring
  absl::Time next_arrival_ = absl::UnixEpoch();
  int64_t num_made_ = 0;
};

}  // namespace lockstep::simulation

#endif  // LOCKSTEP_TESTS_BENCHMARKS_SIMULATION_WORKLOAD_H_
