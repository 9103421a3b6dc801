#include "tests/testing/fake_model.h"

#include <algorithm>

namespace lockstep::testing {
namespace {

uint64_t Mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15ULL;
  return hash ^ (hash >> 29);
}

uint64_t HashTokens(absl::Span<const int32_t> tokens) {
  uint64_t hash = 0x4c6f636b73746570ULL;
  for (int32_t token : tokens) hash = Mix(hash, static_cast<uint64_t>(token) + 1);
  return hash;
}

}  // namespace

int32_t FakeNextToken(absl::Span<const int32_t> tokens, const worker::v1::Sampling& sampling,
                      int32_t vocab_size) {
  uint64_t hash = HashTokens(tokens);
  if (sampling.temperature() > 0) hash = Mix(hash, sampling.seed());
  auto token = static_cast<int32_t>(hash % static_cast<uint64_t>(vocab_size));
  const bool may_end =
      tokens.size() >= size_t{sampling.num_prompt_tokens()} + sampling.min_new_tokens();
  const auto ends = [&sampling](int32_t candidate) {
    const auto& ids = sampling.end_token_ids();
    return std::find(ids.begin(), ids.end(), static_cast<uint32_t>(candidate)) != ids.end();
  };
  for (int32_t i = 0; i < vocab_size && !may_end && ends(token); ++i) {
    token = (token + 1) % vocab_size;
  }
  return token;
}

int32_t NextAllowedToken(int32_t token, const std::string& mask, int32_t vocab_size) {
  const auto is_allowed = [&mask](int32_t id) {
    const auto byte = static_cast<uint8_t>(mask[static_cast<size_t>(id) / 8]);
    return (byte >> (id % 8) & 1) != 0;
  };
  for (int32_t i = 0; i < vocab_size && !is_allowed(token); ++i) token = (token + 1) % vocab_size;
  return token;
}

std::vector<float> FakeLogits(absl::Span<const int32_t> tokens, int32_t vocab_size) {
  const uint64_t hash = HashTokens(tokens);
  std::vector<float> logits;
  logits.reserve(static_cast<size_t>(vocab_size));
  for (int32_t i = 0; i < vocab_size; ++i) {
    logits.push_back(static_cast<float>(Mix(hash, static_cast<uint64_t>(i)) % 1000) / 1000.0F);
  }
  return logits;
}

}  // namespace lockstep::testing
