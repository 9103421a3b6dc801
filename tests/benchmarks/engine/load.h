// Requests for the engine benchmark, and what workers would answer.
#ifndef LOCKSTEP_TESTS_BENCHMARKS_ENGINE_LOAD_H_
#define LOCKSTEP_TESTS_BENCHMARKS_ENGINE_LOAD_H_

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "lockstep/worker/v1/control_link.pb.h"
#include "server/scheduler/request.h"

namespace lockstep::server {

inline constexpr int32_t kMaxPromptTokens = 1024;
inline constexpr int32_t kMaxAnswerTokens = 512;

// Half of the prompts begin with one of 20 system prompts of 256 tokens; the rest of a prompt has
// 16 to 768 tokens, an answer 1 to 512. Deterministic.
class RequestSource {
 public:
  explicit RequestSource(uint64_t seed) : random_(seed) {}

  // `now` is the request's arrival. One in ten has a deadline, far away.
  std::shared_ptr<const EngineRequest> Next(absl::Time now);

  // True with this probability.
  bool Chance(double probability);

 private:
  int32_t Draw(int32_t minimum, int32_t maximum);

  std::mt19937_64 random_;
};

// What workers answer to `plan`: a token for each row that ends its sequence's known tokens.
// Follows the plans, so every plan must be passed, in order.
class TokenSource {
 public:
  explicit TokenSource(int32_t max_num_seqs) : known_(static_cast<size_t>(max_num_seqs)) {}

  worker::v1::StepResult Answer(const worker::v1::StepPlan& plan);

 private:
  std::vector<uint32_t> known_;  // [max_num_seqs]: the slot's tokens, as the plans have them
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_TESTS_BENCHMARKS_ENGINE_LOAD_H_
