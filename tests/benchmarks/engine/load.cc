#include "tests/benchmarks/engine/load.h"

namespace lockstep::server {
namespace {

constexpr int32_t kNumSystemPrompts = 20;
constexpr int32_t kSystemPromptTokens = 256;
constexpr int32_t kVocabSize = 32000;

}  // namespace

int32_t RequestSource::Draw(int32_t minimum, int32_t maximum) {
  return std::uniform_int_distribution<int32_t>(minimum, maximum)(random_);
}

bool RequestSource::Chance(double probability) {
  return std::bernoulli_distribution(probability)(random_);
}

std::shared_ptr<const EngineRequest> RequestSource::Next(absl::Time now) {
  auto request = std::make_shared<EngineRequest>();
  if (Chance(0.5)) request->prompt.assign(kSystemPromptTokens, Draw(0, kNumSystemPrompts - 1));
  for (int32_t n = Draw(16, kMaxPromptTokens - kSystemPromptTokens); n > 0; --n) {
    request->prompt.push_back(Draw(0, kVocabSize - 1));
  }
  request->sampling.set_num_prompt_tokens(static_cast<uint32_t>(request->prompt.size()));
  request->max_new_tokens = Draw(1, kMaxAnswerTokens);
  request->eos_token_ids = {kVocabSize - 1};
  request->arrival = now;
  if (Chance(0.1)) request->deadline = now + absl::Hours(1);
  return request;
}

worker::v1::StepResult TokenSource::Answer(const worker::v1::StepPlan& plan) {
  worker::v1::StepResult result;
  result.set_step(plan.step());
  result.set_duration_ns(8'000'000);
  for (const worker::v1::AdmittedSlot& admitted : plan.admitted()) {
    known_[admitted.slot()] = static_cast<uint32_t>(admitted.token_ids_size());
  }
  for (const worker::v1::ScheduledSlot& row : plan.scheduled()) {
    const uint32_t end = row.position() + row.num_tokens();
    if (end != known_[row.slot()]) continue;
    ++known_[row.slot()];
    worker::v1::SampledToken& token = *result.add_sampled();
    token.set_slot(row.slot());
    token.set_position(end);
    token.set_token_id((row.slot() * 7919 + end * 104729) % (kVocabSize - 1));
  }
  return result;
}

}  // namespace lockstep::server
