// What Started says about the tokens of a prompt.
#ifndef LOCKSTEP_SERVER_RPC_PROMPT_REPORT_H_
#define LOCKSTEP_SERVER_RPC_PROMPT_REPORT_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "lockstep/v1/generate.pb.h"
#include "lockstep/worker/v1/control_link.pb.h"
#include "server/text/text_model.h"

namespace lockstep::server {

// Collects the details of a prompt's tokens, which come as the prompt runs. Not thread-safe;
// borrows the text model.
class PromptReport {
 public:
  // `wanted`: the tokens are reported. `logprobs`: with their log probabilities, which Add brings.
  PromptReport(const TextModel& text, bool wanted, bool logprobs, absl::Span<const int32_t> prompt);

  // Tokens from the second on, in any number of calls.
  void Add(absl::Span<const worker::v1::SampledToken> tokens);

  // Nothing more will come.
  bool is_complete() const { return num_missing_ == 0; }

  // Moves what there is into `started`.
  void TakeInto(v1::Started& started);

 private:
  const TextModel& text_;
  std::vector<v1::TokenDetail> details_;
  std::size_t num_missing_ = 0;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_PROMPT_REPORT_H_
