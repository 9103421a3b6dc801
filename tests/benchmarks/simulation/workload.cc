#include "tests/benchmarks/simulation/workload.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace lockstep::simulation {
namespace {

constexpr int32_t kVocabSize = 128'256;
constexpr double kMedianPrompt = 928, kMeanPrompt = 1155;
constexpr double kMedianAnswer = 129, kMeanAnswer = 211;
constexpr size_t kNumConversations = 2048;

// SplitMix64 (Steele et al. 2014).
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

int32_t TokenAt(uint64_t seed, uint64_t position) {
  return static_cast<int32_t>(Mix(seed ^ (position << 32)) % kVocabSize);
}

}  // namespace

int32_t AnswerToken(uint64_t sequence_seed, uint32_t position) {
  return TokenAt(sequence_seed, position);
}

Workload::Workload(const WorkloadOptions& options) : options_(options), random_(options.seed) {
  for (int tenant = 0; tenant < options.num_tenants; ++tenant) {
    tenant_popularity_.push_back(1.0 / (tenant + 1));
    system_prompt_lengths_.push_back(DrawLength(300, 450, 32, options.max_model_len / 4));
  }
}

int32_t Workload::DrawLength(double median, double mean, int32_t minimum, int32_t maximum) {
  // Of a log-normal distribution: mean = median · exp(sigma² / 2).
  std::lognormal_distribution<double> lengths(std::log(median),
                                              std::sqrt(2 * std::log(mean / median)));
  return std::clamp(static_cast<int32_t>(lengths(random_)), minimum, maximum);
}

int Workload::DrawTenant() {
  return std::discrete_distribution<int>(tenant_popularity_.begin(),
                                         tenant_popularity_.end())(random_);
}

bool Workload::Chance(double probability) {
  return std::bernoulli_distribution(probability)(random_);
}

void Workload::Append(std::vector<int32_t>& tokens, int32_t count, uint64_t seed) const {
  for (int32_t i = 0; i < count; ++i) tokens.push_back(TokenAt(seed, static_cast<uint64_t>(i)));
}

std::vector<int32_t> Workload::MakePrompt(int& tenant) {
  const int32_t longest = options_.max_model_len / 2;
  std::vector<int32_t> tokens;
  int32_t length = DrawLength(kMedianPrompt, kMeanPrompt, 16, longest);
  if (!conversations_.empty() && Chance(options_.follow_up_share)) {
    const Conversation& earlier = conversations_[std::uniform_int_distribution<size_t>(
        0, conversations_.size() - 1)(random_)];
    // What is new in a follow-up is a message, not a document.
    length = std::max(16, length / 8);
    if (static_cast<int32_t>(earlier.tokens.size()) + length <= longest) {
      tokens = earlier.tokens;
      tenant = earlier.tenant;
      Append(tokens, length, random_());
      return tokens;
    }
  }
  if (Chance(options_.shared_share)) {
    const int32_t shared = system_prompt_lengths_[static_cast<size_t>(tenant)];
    Append(tokens, shared, Mix(options_.seed) + static_cast<uint64_t>(tenant));
    length = std::max(16, length - shared);
  }
  Append(tokens, length, random_());
  return tokens;
}

void Workload::Remember(const server::EngineRequest& request, int tenant) {
  Conversation conversation{request.prompt, tenant};
  for (int32_t i = 0; i < request.max_new_tokens; ++i) {
    conversation.tokens.push_back(
        AnswerToken(request.sampling.seed(),
                    static_cast<uint32_t>(request.prompt.size()) + static_cast<uint32_t>(i)));
  }
  if (conversations_.size() < kNumConversations) {
    conversations_.push_back(std::move(conversation));
  } else {
    conversations_[static_cast<size_t>(num_made_) % kNumConversations] = std::move(conversation);
  }
}

SimulatedRequest Workload::Next() {
  SimulatedRequest next;
  next.tenant = DrawTenant();
  auto request = std::make_shared<server::EngineRequest>();
  request->id = absl::StrCat(num_made_);
  request->prompt = MakePrompt(next.tenant);
  const auto num_prompt_tokens = static_cast<int32_t>(request->prompt.size());
  request->max_new_tokens =
      DrawLength(kMedianAnswer, kMeanAnswer, 1, options_.max_model_len - num_prompt_tokens);
  request->sampling.set_seed(random_());
  request->sampling.set_num_prompt_tokens(static_cast<uint32_t>(num_prompt_tokens));
  request->arrival = next_arrival_;
  // One in ten is urgent, one in ten can wait.
  const double urgency = std::uniform_real_distribution<double>(0, 1)(random_);
  request->priority = urgency < 0.1 ? 1 : urgency < 0.2 ? -1 : 0;
  if (Chance(options_.deadline_share)) {
    request->deadline =
        next_arrival_ + absl::Seconds(std::uniform_real_distribution<double>(10, 120)(random_));
  }
  if (Chance(options_.cancel_share)) {
    next.cancelled =
        next_arrival_ + absl::Seconds(std::exponential_distribution<double>(0.2)(random_));
  }
  Remember(*request, next.tenant);
  next.request = std::move(request);

  ++num_made_;
  std::gamma_distribution<double> gaps(options_.burst_shape,
                                       1 / (options_.burst_shape * options_.request_rate));
  next_arrival_ += absl::Seconds(gaps(random_));
  return next;
}

}  // namespace lockstep::simulation
