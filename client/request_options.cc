#include "client/request_options.h"

#include <array>
#include <fstream>
#include <utility>

#include "CLI/Error.hpp"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"

namespace lockstep::client {
namespace {

// What `option` names.
std::string ReadFile(const std::string& option, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string content;
  std::array<char, 1 << 16> buffer;
  while (file) {
    file.read(buffer.data(), buffer.size());
    content.append(buffer.data(), static_cast<size_t>(file.gcount()));
  }
  // What is read past the end of it is at its end, and nothing else.
  if (!file.eof()) throw CLI::ValidationError(option, "cannot read " + path);
  return content;
}

// Of "128001=-100".
std::pair<uint32_t, float> ParseBias(const std::string& text) {
  std::pair<uint32_t, float> bias;
  const size_t equals = text.find('=');
  if (equals == std::string::npos ||
      !absl::SimpleAtoi(absl::string_view(text).substr(0, equals), &bias.first) ||
      !absl::SimpleAtof(absl::string_view(text).substr(equals + 1), &bias.second)) {
    throw CLI::ValidationError("--logit-bias", "'" + text + "' is no ID=BIAS, such as 128001=-100");
  }
  return bias;
}

}  // namespace

void RequestOptions::AddTo(CLI::App& command) {
  command.add_option("--request-id", request_id_, "Names the request in the server's log");
  command.add_option("--model", model_, "The served model's name");
  command.add_option("--priority", priority_, "Higher runs earlier");
  command.add_option("--num-sequences", num_sequences_, "Independent answers");
  command.add_flag("--bypass-cache", bypass_cache_, "Neither read nor fill the prefix cache");
  command.add_option("--cache-salt", cache_salt_,
                     "Share cached blocks only with requests that have the same salt");
  AddSampling(command);
  AddStopping(command);
  AddGuide(command);
  AddOutput(command);
}

void RequestOptions::AddGuide(CLI::App& command) {
  CLI::Option_group& group =
      *command.add_option_group("The answer's form (at most one)",
                                "The answer is made to have it; say in the prompt what you want");
  group
      .add_option_function<std::string>(
          "--json-schema",
          [this](const std::string& path) { json_schema_ = ReadFile("--json-schema", path); },
          "JSON that follows the schema in this file")
      ->type_name("FILE");
  group.add_flag("--json-object", json_object_, "Any JSON object");
  group.add_option("--regex", regex_, "Text that matches this regular expression as a whole");
  group
      .add_option_function<std::string>(
          "--grammar", [this](const std::string& path) { grammar_ = ReadFile("--grammar", path); },
          "Text that follows the Lark grammar in this file")
      ->type_name("FILE");
  group.add_option("--choice", choices_, "One of several texts (give each its own --choice)")
      ->take_all()
      ->allow_extra_args(false);
  group.require_option(0, 1);
}

void RequestOptions::AddSampling(CLI::App& command) {
  const std::string group = "Sampling (default: as the model's generation_config.json says)";
  command.add_option("--temperature", temperature_, "0 = greedy")->group(group);
  command.add_option("--top-k", top_k_, "Keep the k most probable tokens; 0 = all")->group(group);
  command.add_option("--top-p", top_p_, "Keep the most probable tokens up to this sum")
      ->group(group);
  command.add_option("--min-p", min_p_, "Keep tokens this probable relative to the best")
      ->group(group);
  command.add_option("--typical-p", typical_p_, "Locally typical sampling; 1 = off")->group(group);
  command.add_option("--repetition-penalty", repetition_penalty_, "1 = off")->group(group);
  command.add_option("--presence-penalty", presence_penalty_, "0 = off")->group(group);
  command.add_option("--frequency-penalty", frequency_penalty_, "0 = off")->group(group);
  command.add_option("--seed", seed_, "The same seed gives the same answer")->group(group);
  command
      .add_option_function<std::vector<std::string>>(
          "--logit-bias",
          [this](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) {
              const auto [id, bias] = ParseBias(text);
              logit_bias_[id] = bias;
            }
          },
          "Add to the logit of a token, from -100 to 100 (may be given again)")
      ->type_name("ID=BIAS")
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
  command
      .add_option("--allowed-token-id", allowed_token_ids_,
                  "Choose among these tokens alone (may be given again)")
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
}

void RequestOptions::AddStopping(CLI::App& command) {
  const std::string group = "Stopping";
  command.add_option("-n,--max-new-tokens", max_new_tokens_, "At most this many tokens")
      ->group(group);
  command.add_option("--min-new-tokens", min_new_tokens_, "At least this many tokens")
      ->group(group);
  command.add_option("--stop", stop_strings_, "Stop before this text (may be given again)")
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
  command.add_option("--stop-token-id", stop_token_ids_, "Stop at this token (may be given again)")
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
  command.add_option("--time-limit-ms", time_limit_ms_, "Stop after this time")->group(group);
  command
      .add_flag("--include-stop-string", include_stop_string_, "Leave the stop text in the answer")
      ->group(group);
  command.add_flag("--ignore-eos", ignore_eos_, "Go on past the model's own end")->group(group);
}

void RequestOptions::AddOutput(CLI::App& command) {
  const std::string group = "Output";
  command
      .add_option("--logprobs", logprobs_,
                  "Log probabilities, with this many alternatives (with --json)")
      ->group(group);
  command
      .add_option("--prompt-logprobs", prompt_logprobs_,
                  "The same for the prompt's tokens (with --json)")
      ->group(group);
  command
      .add_flag("--token-details", token_details_, "The exact bytes of each token (with --json)")
      ->group(group);
  command
      .add_flag("--keep-special-tokens", keep_special_tokens_, "Show special tokens in the text")
      ->group(group);
  command.add_flag("--echo", echo_, "Begin with the prompt")->group(group);
}

void RequestOptions::SetGuide(v1::GenerateRequest& request) const {
  if (json_schema_) request.mutable_guide()->set_json_schema(*json_schema_);
  if (json_object_) request.mutable_guide()->set_json_object(true);
  if (regex_) request.mutable_guide()->set_regex(*regex_);
  if (grammar_) request.mutable_guide()->set_grammar(*grammar_);
  for (const std::string& text : choices_) {
    request.mutable_guide()->mutable_choice()->add_choices(text);
  }
}

v1::GenerateRequest RequestOptions::MakeRequest() const {
  v1::GenerateRequest request;
  if (request_id_) request.set_request_id(*request_id_);
  if (model_) request.set_model(*model_);
  if (priority_) request.set_priority(*priority_);
  if (num_sequences_) request.set_num_sequences(*num_sequences_);
  if (bypass_cache_) request.mutable_cache()->set_bypass(true);
  if (cache_salt_) request.mutable_cache()->set_salt(*cache_salt_);

  v1::SamplingParameters& sampling = *request.mutable_sampling();
  if (temperature_) sampling.set_temperature(*temperature_);
  if (top_k_) sampling.set_top_k(*top_k_);
  if (top_p_) sampling.set_top_p(*top_p_);
  if (min_p_) sampling.set_min_p(*min_p_);
  if (typical_p_) sampling.set_typical_p(*typical_p_);
  if (repetition_penalty_) sampling.set_repetition_penalty(*repetition_penalty_);
  if (presence_penalty_) sampling.set_presence_penalty(*presence_penalty_);
  if (frequency_penalty_) sampling.set_frequency_penalty(*frequency_penalty_);
  if (seed_) sampling.set_seed(*seed_);
  sampling.mutable_logit_bias()->insert(logit_bias_.begin(), logit_bias_.end());
  for (const uint32_t id : allowed_token_ids_) sampling.add_allowed_token_ids(id);

  v1::StoppingParameters& stopping = *request.mutable_stopping();
  if (max_new_tokens_) stopping.set_max_new_tokens(*max_new_tokens_);
  if (min_new_tokens_) stopping.set_min_new_tokens(*min_new_tokens_);
  for (const std::string& text : stop_strings_) stopping.add_stop_strings(text);
  for (const uint32_t id : stop_token_ids_) stopping.add_stop_token_ids(id);
  if (time_limit_ms_) stopping.set_time_limit_ms(*time_limit_ms_);
  if (include_stop_string_) stopping.set_include_stop_string(true);
  if (ignore_eos_) stopping.set_ignore_eos(true);

  SetGuide(request);

  v1::OutputOptions& output = *request.mutable_output();
  if (logprobs_) output.set_logprobs(*logprobs_);
  if (prompt_logprobs_) output.set_prompt_logprobs(*prompt_logprobs_);
  if (token_details_) output.set_token_details(true);
  if (keep_special_tokens_) output.set_skip_special_tokens(false);
  if (echo_) output.set_echo(true);
  return request;
}

}  // namespace lockstep::client
