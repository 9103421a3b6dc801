// Command-line options of generation, turned into a request. What is not given stays absent.
#ifndef LOCKSTEP_CLIENT_REQUEST_OPTIONS_H_
#define LOCKSTEP_CLIENT_REQUEST_OPTIONS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "lockstep/v1/generate.pb.h"

namespace lockstep::client {

class RequestOptions {
 public:
  // Adds the options to a subcommand. This object must outlive its parsing.
  void AddTo(CLI::App& command);

  // Sampling, stopping and output parameters as they were given; the prompt is the caller's.
  v1::GenerateRequest MakeRequest() const;

 private:
  void AddSampling(CLI::App& command);
  void AddStopping(CLI::App& command);
  void AddOutput(CLI::App& command);
  void AddGuide(CLI::App& command);
  void SetGuide(v1::GenerateRequest& request) const;

  std::optional<std::string> request_id_;
  std::optional<std::string> model_;
  std::optional<int32_t> priority_;
  std::optional<uint32_t> num_sequences_;
  bool bypass_cache_ = false;
  std::optional<std::string> cache_salt_;

  std::optional<float> temperature_;
  std::optional<uint32_t> top_k_;
  std::optional<float> top_p_;
  std::optional<float> min_p_;
  std::optional<float> typical_p_;
  std::optional<float> repetition_penalty_;
  std::optional<float> presence_penalty_;
  std::optional<float> frequency_penalty_;
  std::optional<uint64_t> seed_;
  std::map<uint32_t, float> logit_bias_;
  std::vector<uint32_t> allowed_token_ids_;

  std::optional<uint32_t> max_new_tokens_;
  std::optional<uint32_t> min_new_tokens_;
  std::vector<std::string> stop_strings_;
  std::vector<uint32_t> stop_token_ids_;
  std::optional<uint32_t> time_limit_ms_;
  bool include_stop_string_ = false;
  bool ignore_eos_ = false;

  std::optional<std::string> json_schema_;
  bool json_object_ = false;
  std::optional<std::string> regex_;
  std::optional<std::string> grammar_;
  std::vector<std::string> choices_;

  std::optional<uint32_t> logprobs_;
  std::optional<uint32_t> prompt_logprobs_;
  bool token_details_ = false;
  bool keep_special_tokens_ = false;
  bool echo_ = false;
};

}  // namespace lockstep::client

#endif  // LOCKSTEP_CLIENT_REQUEST_OPTIONS_H_
