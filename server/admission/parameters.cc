#include "server/admission/parameters.h"

#include <charconv>
#include <cmath>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/admission/field_error.h"
#include "server/admission/limits.h"

namespace lockstep::server {
namespace {

// In as few digits as name this very number: one just outside of a range does not look as if it
// were its end.
std::string InDigits(float value) {
  char digits[32];
  return std::string(digits, std::to_chars(std::begin(digits), std::end(digits), value).ptr);
}

// Collects the first error of a group of fields.
class FieldChecks {
 public:
  explicit FieldChecks(absl::string_view group) : group_(group) {}

  absl::Status status() const { return status_; }

  void Invalid(absl::string_view field, absl::string_view problem) {
    status_.Update(InvalidField(Path(field), problem));
  }

  // [min, max]; with kAbove, (min, max]. `fix` completes "...; use".
  enum class Low { kFrom, kAbove };
  void Range(bool present, absl::string_view field, float value, Low low, double min, double max,
             absl::string_view fix) {
    if (!present) return;
    const bool above = low == Low::kAbove ? value > min : value >= min;
    if (std::isfinite(value) && above && value <= max) return;
    Invalid(field, absl::StrCat("is ", InDigits(value), "; must be in ",
                                low == Low::kAbove ? "(" : "[", min, ", ", max, "]; use ", fix));
  }

  // At most `max` elements of a repeated field or map.
  void Count(absl::string_view field, std::size_t count, std::size_t max, absl::string_view what) {
    if (count <= max) return;
    Invalid(field, absl::StrCat("has ", count, " ", what, "; at most ", max, " are allowed"));
  }

  // A number of alternatives.
  void Alternatives(absl::string_view field, uint32_t value) {
    if (value <= limits::kLogprobs) return;
    Invalid(field, absl::StrCat("is ", value, "; at most ", limits::kLogprobs,
                                " alternatives are reported"));
  }

 private:
  std::string Path(absl::string_view field) const { return absl::StrCat(group_, ".", field); }

  absl::string_view group_;
  absl::Status status_;
};

using Low = FieldChecks::Low;

template <typename Ids>
void CheckTokenIds(FieldChecks& checks, absl::string_view field, const Ids& ids,
                   int32_t vocab_size) {
  for (int i = 0; i < ids.size(); ++i) {
    if (ids[i] >= static_cast<uint32_t>(vocab_size)) {
      checks.Invalid(absl::StrCat(field, "[", i, "]"),
                     absl::StrCat("is ", ids[i], "; the vocabulary has the ids 0 to ",
                                  vocab_size - 1, "; was it tokenized for another model?"));
      return;
    }
  }
}

void CheckRanges(FieldChecks& checks, const v1::SamplingParameters& s) {
  checks.Range(s.has_temperature(), "temperature", s.temperature(), Low::kFrom, 0,
               limits::kTemperature, "0 for greedy decoding, 1 for the model's own distribution");
  checks.Range(s.has_top_p(), "top_p", s.top_p(), Low::kAbove, 0, 1, "1 to keep every token");
  checks.Range(s.has_min_p(), "min_p", s.min_p(), Low::kFrom, 0, 1, "0 to keep every token");
  checks.Range(s.has_typical_p(), "typical_p", s.typical_p(), Low::kAbove, 0, 1,
               "1 to switch it off");
  checks.Range(s.has_repetition_penalty(), "repetition_penalty", s.repetition_penalty(),
               Low::kAbove, 0, limits::kRepetitionPenalty, "1 to switch it off");
  checks.Range(s.has_presence_penalty(), "presence_penalty", s.presence_penalty(), Low::kFrom,
               -limits::kPenalty, limits::kPenalty, "0 to switch it off");
  checks.Range(s.has_frequency_penalty(), "frequency_penalty", s.frequency_penalty(), Low::kFrom,
               -limits::kPenalty, limits::kPenalty, "0 to switch it off");
}

void CheckTokenChoices(FieldChecks& checks, const v1::SamplingParameters& s, int32_t vocab_size) {
  checks.Count("logit_bias", s.logit_bias().size(), limits::kLogitBiases, "tokens");
  checks.Count("allowed_token_ids", static_cast<std::size_t>(s.allowed_token_ids_size()),
               limits::kAllowedTokenIds, "ids");
  if (!checks.status().ok()) return;
  for (const auto& [id, bias] : s.logit_bias()) {
    const std::string field = absl::StrCat("logit_bias[", id, "]");
    if (id >= static_cast<uint32_t>(vocab_size)) {
      checks.Invalid(field, absl::StrCat("token id ", id, " is not in the vocabulary of ",
                                         vocab_size, " tokens"));
    }
    checks.Range(true, field, bias, Low::kFrom, -limits::kLogitBias, limits::kLogitBias,
                 "0 for no bias");
  }
  CheckTokenIds(checks, "allowed_token_ids", s.allowed_token_ids(), vocab_size);
}

void CheckStopStrings(FieldChecks& checks, const v1::StoppingParameters& s) {
  if (static_cast<std::size_t>(s.stop_strings_size()) > limits::kStopStrings) {
    checks.Invalid("stop_strings", absl::StrCat("has ", s.stop_strings_size(), " strings; at most ",
                                                limits::kStopStrings, " are allowed"));
    return;
  }
  for (int i = 0; i < s.stop_strings_size(); ++i) {
    const std::string field = absl::StrCat("stop_strings[", i, "]");
    const std::size_t size = s.stop_strings(i).size();
    if (size == 0)
      checks.Invalid(field, "is empty, which would end every answer at once; leave it out");
    if (size > limits::kStopStringBytes) {
      checks.Invalid(field, absl::StrCat("has ", size, " bytes; at most ", limits::kStopStringBytes,
                                         " are allowed"));
    }
  }
}

}  // namespace

absl::Status CheckSampling(const v1::SamplingParameters& sampling, const ServedModel& model) {
  FieldChecks checks("sampling");
  CheckRanges(checks, sampling);
  CheckTokenChoices(checks, sampling, model.vocab_size);
  return checks.status();
}

absl::Status CheckStopping(const v1::StoppingParameters& stopping, const ServedModel& model) {
  FieldChecks checks("stopping");
  if (stopping.has_max_new_tokens() && stopping.max_new_tokens() == 0) {
    checks.Invalid("max_new_tokens",
                   "is 0; must be at least 1, or absent for an answer up to the context's end");
  }
  if (stopping.has_max_new_tokens() && stopping.min_new_tokens() > stopping.max_new_tokens()) {
    checks.Invalid("min_new_tokens",
                   absl::StrCat("is ", stopping.min_new_tokens(), ", above max_new_tokens = ",
                                stopping.max_new_tokens(), "; lower it or raise max_new_tokens"));
  }
  CheckStopStrings(checks, stopping);
  checks.Count("stop_token_ids", static_cast<std::size_t>(stopping.stop_token_ids_size()),
               limits::kStopTokenIds, "ids");
  CheckTokenIds(checks, "stop_token_ids", stopping.stop_token_ids(), model.vocab_size);
  if (stopping.has_time_limit_ms() && stopping.time_limit_ms() == 0) {
    checks.Invalid("time_limit_ms", "is 0; must be at least 1, or absent for no limit");
  }
  return checks.status();
}

absl::Status CheckOutput(const v1::OutputOptions& output) {
  FieldChecks checks("output");
  checks.Alternatives("logprobs", output.logprobs());
  checks.Alternatives("prompt_logprobs", output.prompt_logprobs());
  return checks.status();
}

absl::Status CheckOtherOptions(const v1::GenerateRequest& request, const ServedModel& model) {
  if (request.has_num_sequences() && request.num_sequences() == 0) {
    return InvalidField("num_sequences", "is 0; must be at least 1");
  }
  if (request.num_sequences() > limits::kSequences) {
    return InvalidField(
        "num_sequences",
        absl::StrCat("is ", request.num_sequences(), "; at most ", limits::kSequences,
                     " answers are given to one request; send several, with different seeds"));
  }
  if (request.num_sequences() > model.max_sequences) {
    return InvalidField("num_sequences",
                        absl::StrCat("is ", request.num_sequences(),
                                     "; this server runs and queues ", model.max_sequences,
                                     " at most (--max-num-seqs and "
                                     "--max-queued-requests); send several requests"));
  }
  if (request.priority() < -limits::kPriority || request.priority() > limits::kPriority) {
    return InvalidField("priority", absl::StrCat("is ", request.priority(), "; must be from ",
                                                 -limits::kPriority, " to ", limits::kPriority));
  }
  if (request.cache().salt().size() > limits::kCacheSaltBytes) {
    return InvalidField("cache.salt",
                        absl::StrCat("has ", request.cache().salt().size(), " bytes; at most ",
                                     limits::kCacheSaltBytes, " are allowed"));
  }
  return absl::OkStatus();
}

uint64_t SequenceSeed(uint64_t seed, uint32_t index) {
  if (index == 0) return seed;
  uint64_t x = seed + index * uint64_t{0x9E3779B97F4A7C15};
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

worker::v1::Sampling ResolveSampling(const v1::GenerateRequest& request,
                                     const GenerationDefaults& defaults, uint64_t seed) {
  const v1::SamplingParameters& wanted = request.sampling();
  worker::v1::Sampling resolved;
  resolved.set_temperature(wanted.has_temperature() ? wanted.temperature() : defaults.temperature);
  resolved.set_top_k(wanted.has_top_k() ? wanted.top_k() : defaults.top_k);
  resolved.set_top_p(wanted.has_top_p() ? wanted.top_p() : defaults.top_p);
  resolved.set_min_p(wanted.has_min_p() ? wanted.min_p() : defaults.min_p);
  resolved.set_typical_p(wanted.has_typical_p() ? wanted.typical_p() : defaults.typical_p);
  resolved.set_repetition_penalty(wanted.has_repetition_penalty() ? wanted.repetition_penalty()
                                                                  : defaults.repetition_penalty);
  resolved.set_presence_penalty(wanted.presence_penalty());
  resolved.set_frequency_penalty(wanted.frequency_penalty());
  for (const auto& [id, bias] : wanted.logit_bias()) {
    if (bias != 0) (*resolved.mutable_logit_bias())[id] = bias;
  }
  *resolved.mutable_allowed_token_ids() = wanted.allowed_token_ids();
  resolved.set_seed(wanted.has_seed() ? wanted.seed() : seed);
  resolved.set_min_new_tokens(request.stopping().min_new_tokens());
  resolved.set_num_logprobs(
      request.output().has_logprobs() ? static_cast<int32_t>(request.output().logprobs()) : -1);
  return resolved;
}

}  // namespace lockstep::server
