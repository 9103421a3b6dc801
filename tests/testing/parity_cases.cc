#include "tests/testing/parity_cases.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <ostream>

#include "tests/testing/reference_file.h"

namespace lockstep::testing {
namespace {

using Json = nlohmann::json;

ParityPrompt ReadPrompt(const Json& entry, int64_t vocab_size, std::ifstream& logits) {
  ParityPrompt prompt;
  entry.at("input_ids").get_to(prompt.input_ids);
  entry.at("greedy_ids").get_to(prompt.greedy_ids);
  entry.at("greedy_margin").get_to(prompt.greedy_margin);
  entry.at("bfloat16_max_abs_error").get_to(prompt.bfloat16_max_abs_error);
  entry.at("bfloat16_mean_abs_error").get_to(prompt.bfloat16_mean_abs_error);
  prompt.greedy_ids_uncached = entry.value("greedy_ids_uncached", std::vector<int32_t>());
  prompt.logits.resize(prompt.input_ids.size() * static_cast<size_t>(vocab_size));
  logits.read(reinterpret_cast<char*>(prompt.logits.data()),
              static_cast<std::streamsize>(prompt.logits.size() * sizeof(float)));
  return prompt;
}

ParityCase ReadCase(const Json& entry, const std::filesystem::path& directory) {
  ParityCase parity_case;
  entry.at("name").get_to(parity_case.name);
  entry.at("comment").get_to(parity_case.comment);
  entry.at("attention_scaling").get_to(parity_case.attention_scaling);
  const Json& config = entry.at("config");
  config.at("vocab_size").get_to(parity_case.vocab_size);
  parity_case.checkpoint.config_json = config.dump(1);
  entry.at("seed").get_to(parity_case.checkpoint.seed);
  entry.at("num_shards").get_to(parity_case.checkpoint.num_shards);
  parity_case.checkpoint.storage = ParseStorageType(entry.at("storage").get<std::string>()).value();

  parity_case.checkpoint.tied_head = ParseStoredHead(entry.value("tied_head", "none")).value();

  const std::filesystem::path path = directory / (parity_case.name + ".f32");
  std::ifstream logits(path, std::ios::binary);
  for (const Json& prompt : entry.at("prompts")) {
    parity_case.prompts.push_back(ReadPrompt(prompt, parity_case.vocab_size, logits));
    (prompt.contains("inv_freq") ? prompt : entry)
        .at("inv_freq")
        .get_to(parity_case.prompts.back().inv_freq);
  }
  if (!logits || logits.peek() != std::ifstream::traits_type::eof())
    EndForBadReference(path, "missing or not as long as it must be");
  return parity_case;
}

}  // namespace

std::vector<ParityCase> LoadParityCases(const std::filesystem::path& directory) {
  std::vector<ParityCase> cases;
  ReadReference(directory / "cases.json", [&](const Json& index) {
    for (const Json& entry : index.at("cases")) cases.push_back(ReadCase(entry, directory));
  });
  return cases;
}

void PrintTo(const ParityCase& parity_case, std::ostream* out) { *out << parity_case.name; }

}  // namespace lockstep::testing
