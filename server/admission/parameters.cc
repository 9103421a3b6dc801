#include "server/admission/parameters.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/admission/field_error.h"
#include "server/admission/limits.h"

namespace lockstep::server {
namespace {

// Collects the first error of a group of fields.
class FieldChecks {
 public:
  explicit FieldChecks(absl::string_view group) : group_(group) {}

  absl::Status status() const { return status_; }

  void Invalid(absl::string_view field, absl::string_view problem) {
    status_.Update(InvalidField(Path(field), problem));
  }
  void Unsupported(absl::string_view field, absl::string_view problem) {
    status_.Update(UnsupportedField(Path(field), problem));
  }

  // [min, max]; with kAbove, (min, max]. `fix` completes "...; use".
  enum class Low { kFrom, kAbove };
  void Range(bool present, absl::string_view field, double value, Low low, double min, double max,
             absl::string_view fix) {
    if (!present) return;
    const bool above = low == Low::kAbove ? value > min : value >= min;
    if (std::isfinite(value) && above && value <= max) return;
    Invalid(field, absl::StrCat("is ", value, "; must be in ", low == Low::kAbove ? "(" : "[", min,
                                ", ", max, "]; use ", fix));
  }

  // For a field that is only carried out at the value that does nothing.
  void OnlyNeutral(bool present, absl::string_view field, double value, double neutral) {
    if (present && value != neutral) {
      Unsupported(field,
                  absl::StrCat("is ", value,
                               ", but this server does not carry it out; leave it out or use ",
                               neutral, " (off)"));
    }
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

void CheckSupported(FieldChecks& checks, const v1::SamplingParameters& s) {
  checks.OnlyNeutral(s.has_typical_p(), "typical_p", s.typical_p(), 1);
  checks.OnlyNeutral(s.has_repetition_penalty(), "repetition_penalty", s.repetition_penalty(), 1);
  checks.OnlyNeutral(s.has_presence_penalty(), "presence_penalty", s.presence_penalty(), 0);
  checks.OnlyNeutral(s.has_frequency_penalty(), "frequency_penalty", s.frequency_penalty(), 0);
  for (const auto& [id, bias] : s.logit_bias()) {
    checks.OnlyNeutral(true, absl::StrCat("logit_bias[", id, "]"), bias, 0);
  }
  if (s.allowed_token_ids_size() > 0) {
    checks.Unsupported("allowed_token_ids", "this server does not carry it out; leave it out");
  }
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

const char* GuideField(const v1::Guide& guide) {
  switch (guide.guide_case()) {
    case v1::Guide::kJsonSchema:
      return "json_schema";
    case v1::Guide::kJsonObject:
      return "json_object";
    case v1::Guide::kRegex:
      return "regex";
    case v1::Guide::kGrammar:
      return "grammar";
    case v1::Guide::kChoice:
      return "choice";
    case v1::Guide::GUIDE_NOT_SET:
      break;
  }
  return nullptr;
}

absl::Status CheckGuide(const v1::Guide& guide) {
  const char* field = GuideField(guide);
  if (field == nullptr) {
    return InvalidField(
        "guide", "is empty; set exactly one of json_schema, json_object, regex, grammar, choice");
  }
  return UnsupportedField(absl::StrCat("guide.", field),
                          "this server does not guide answers; leave guide out");
}

}  // namespace

absl::Status CheckSampling(const v1::SamplingParameters& sampling, const ServedModel& model) {
  FieldChecks checks("sampling");
  CheckRanges(checks, sampling);
  CheckTokenChoices(checks, sampling, model.vocab_size);
  CheckSupported(checks, sampling);
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
  if (static_cast<std::size_t>(stopping.stop_token_ids_size()) > limits::kStopTokenIds) {
    checks.Invalid("stop_token_ids",
                   absl::StrCat("has ", stopping.stop_token_ids_size(), " ids; at most ",
                                limits::kStopTokenIds, " are allowed"));
  }
  CheckTokenIds(checks, "stop_token_ids", stopping.stop_token_ids(), model.vocab_size);
  if (stopping.has_time_limit_ms() && stopping.time_limit_ms() == 0) {
    checks.Invalid("time_limit_ms", "is 0; must be at least 1, or absent for no limit");
  }
  return checks.status();
}

absl::Status CheckOutput(const v1::OutputOptions& output) {
  FieldChecks checks("output");
  if (output.logprobs() > limits::kLogprobs) {
    checks.Invalid("logprobs", absl::StrCat("is ", output.logprobs(), "; at most ",
                                            limits::kLogprobs, " alternatives are reported"));
  }
  if (output.has_prompt_logprobs()) {
    checks.Unsupported(
        "prompt_logprobs",
        "this server does not report them; leave it out (Forward gives the prompt's logits)");
  }
  return checks.status();
}

absl::Status CheckOtherOptions(const v1::GenerateRequest& request) {
  if (request.has_num_sequences() && request.num_sequences() != 1) {
    if (request.num_sequences() == 0)
      return InvalidField("num_sequences", "is 0; must be at least 1");
    return UnsupportedField("num_sequences",
                            absl::StrCat("is ", request.num_sequences(),
                                         "; this server gives one answer per request: send it "
                                         "several times, with different seeds"));
  }
  if (request.cache().salt().size() > limits::kCacheSaltBytes) {
    return InvalidField("cache.salt",
                        absl::StrCat("has ", request.cache().salt().size(), " bytes; at most ",
                                     limits::kCacheSaltBytes, " are allowed"));
  }
  return request.has_guide() ? CheckGuide(request.guide()) : absl::OkStatus();
}

worker::v1::Sampling ResolveSampling(const v1::GenerateRequest& request,
                                     const GenerationDefaults& defaults, uint64_t seed) {
  const v1::SamplingParameters& wanted = request.sampling();
  worker::v1::Sampling resolved;
  resolved.set_temperature(wanted.has_temperature() ? wanted.temperature() : defaults.temperature);
  resolved.set_top_k(wanted.has_top_k() ? wanted.top_k() : defaults.top_k);
  resolved.set_top_p(wanted.has_top_p() ? wanted.top_p() : defaults.top_p);
  resolved.set_min_p(wanted.has_min_p() ? wanted.min_p() : defaults.min_p);
  resolved.set_typical_p(1);
  resolved.set_repetition_penalty(1);
  resolved.set_seed(wanted.has_seed() ? wanted.seed() : seed);
  resolved.set_min_new_tokens(request.stopping().min_new_tokens());
  resolved.set_num_logprobs(
      request.output().has_logprobs() ? static_cast<int32_t>(request.output().logprobs()) : -1);
  return resolved;
}

}  // namespace lockstep::server
