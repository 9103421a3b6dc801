#include "tests/testing/sampling_cases.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <nlohmann/json.hpp>
#include <ostream>

#include "tests/testing/reference_file.h"

namespace lockstep::testing {
namespace {

using Json = nlohmann::json;

// Letters, digits and underscores, so that the name can be a GoogleTest parameter's.
std::string NameOf(const std::string& vector_name, const Json& changes) {
  std::string name = vector_name;
  for (const auto& [option, value] : changes.items()) {
    if (option != "probabilities") name += "_" + option + "_" + value.dump();
  }
  std::replace_if(name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
  return name;
}

std::vector<float> ReadLogits(const Json& values) {
  std::vector<float> logits;
  for (const Json& value : values) {
    logits.push_back(value.is_null() ? -std::numeric_limits<float>::infinity()
                                     : value.get<float>());
  }
  return logits;
}

SamplingCase ReadCase(const Json& vector, Json options, const Json& changes) {
  SamplingCase result;
  result.name = NameOf(vector.at("name"), changes);
  result.logits = ReadLogits(vector.at("logits"));
  options.update(changes);
  options.at("repetition_penalty").get_to(result.repetition_penalty);
  options.at("presence_penalty").get_to(result.presence_penalty);
  options.at("frequency_penalty").get_to(result.frequency_penalty);
  options.at("min_new_tokens").get_to(result.min_new_tokens);
  options.at("end_token_ids").get_to(result.end_token_ids);
  options.at("allowed_token_ids").get_to(result.allowed_token_ids);
  options.at("temperature").get_to(result.temperature);
  options.at("top_k").get_to(result.top_k);
  options.at("top_p").get_to(result.top_p);
  options.at("min_p").get_to(result.min_p);
  options.at("typical_p").get_to(result.typical_p);
  for (const auto& [token, bias] : options.at("logit_bias").items()) {
    result.logit_bias[static_cast<uint32_t>(std::stoul(token))] = bias.get<float>();
  }
  for (const Json& probability : options.at("probabilities")) {
    result.is_kept.push_back(!probability.is_null());
    result.probabilities.push_back(probability.is_null() ? 0.0f : probability.get<float>());
  }
  return result;
}

}  // namespace

std::vector<SamplingCase> LoadSamplingCases(const std::filesystem::path& path) {
  std::vector<SamplingCase> cases;
  ReadReference(path, [&](const Json& reference) {
    const std::vector<uint32_t> history = reference.at("history");
    for (const Json& vector : reference.at("vectors")) {
      for (const Json& changes : vector.at("cases")) {
        cases.push_back(ReadCase(vector, reference.at("defaults"), changes));
        SamplingCase& added = cases.back();
        const auto last = static_cast<uint32_t>(added.logits.size() - 1);
        for (const uint32_t token : history) added.history.push_back(std::min(token, last));
        reference.at("num_prompt_tokens").get_to(added.num_prompt_tokens);
      }
    }
  });
  return cases;
}

void PrintTo(const SamplingCase& sampling_case, std::ostream* out) { *out << sampling_case.name; }

}  // namespace lockstep::testing
