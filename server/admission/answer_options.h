// What shapes an answer's text and events, beside the tokens themselves: the part of a request that
// the engine does not need to know.
#ifndef LOCKSTEP_SERVER_ADMISSION_ANSWER_OPTIONS_H_
#define LOCKSTEP_SERVER_ADMISSION_ANSWER_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep::server {

struct AnswerOptions {
  // The answer's text ends before the first of these; none is empty.
  std::vector<std::string> stop_strings;
  bool include_stop_string = false;
  // A stop string counts from the token with this number (1 = the first) on.
  int32_t min_new_tokens = 0;

  bool skip_special_tokens = true;
  // Report each token's bytes.
  bool token_details = false;
  // Report the prompt's tokens: with token_details or prompt_logprobs.
  bool prompt_tokens = false;
  // Report log probabilities, as far as the engine gives them.
  bool logprobs = false;
  // The text begins with the prompt.
  bool echo = false;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ADMISSION_ANSWER_OPTIONS_H_
