// From the tokens of one answer to what its client sees.
#ifndef LOCKSTEP_SERVER_RPC_ANSWER_WRITER_H_
#define LOCKSTEP_SERVER_RPC_ANSWER_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/types/span.h"
#include "lockstep/v1/generate.pb.h"
#include "server/admission/answer_options.h"
#include "server/rpc/stop_string_matcher.h"
#include "server/scheduler/event.h"
#include "server/text/detokenizer.h"
#include "server/text/text_model.h"

namespace lockstep::server {

// Detokenizes, looks for stop strings and fills deltas. The texts of all deltas concatenate to the
// answer, and none of them holds anything that a stop string later takes back: what may be the
// beginning of one waits here.
//
// The answer continues the prompt: where a tokenizer writes a space before a word, the answer's
// first word has it, so that prompt and answer can be put together. Token ids are reported at once,
// whether or not their text is final.
//
// Used by one thread at a time. Borrows the text model. Feeding the prompt takes time: for several
// answers to one prompt, copy a writer that has not begun.
class AnswerWriter {
 public:
  AnswerWriter(const TextModel& text, AnswerOptions options, absl::Span<const int32_t> prompt,
               const std::optional<std::string>& prompt_text);

  // What the answer's text begins with if the prompt is to be echoed; else empty. What of a prompt
  // of token ids is not final text yet comes with the deltas.
  const std::string& echo() const { return echo_; }

  // Takes a token and adds to `delta` what it gives; one that ends the answer gives no text. True:
  // a stop string ends the answer here, and nothing may be appended any more.
  bool Append(const TokenEvent& event, v1::Delta& delta);

  // The answer ended for another reason: adds the text that was held back. True if that completes a
  // stop string after all. Not after Append returned true.
  bool Finish(v1::Delta& delta);

  int32_t num_tokens() const { return num_tokens_; }
  // The one that ended the answer.
  const std::optional<std::string>& stop_string() const { return stop_string_; }

 private:
  // Feeds the prompt, so that the answer continues it, and notes what of it is not final.
  void Prime(absl::Span<const int32_t> prompt, const std::optional<std::string>& prompt_text);
  // How many bytes at the beginning of `piece` are the prompt's.
  std::size_t PromptBytes(std::string_view piece) const;
  // Without the prompt's bytes, which go to the delta where they are to be echoed.
  std::string TakeAnswerText(std::string piece, v1::Delta& delta);

  bool CanStop() const { return num_tokens_ >= options_.min_new_tokens; }
  bool AddText(std::string_view piece, v1::Delta& delta);
  bool StopInPendingText(v1::Delta& delta);
  void StopAt(std::size_t stop_string, std::size_t end, v1::Delta& delta);

  const TextModel& text_;
  const AnswerOptions options_;
  Detokenizer detokenizer_;
  StopStringMatcher matcher_;
  std::string echo_;
  // Text of the prompt that the detokenizer has yet to give up, and that is not the answer's.
  std::string prompt_rest_;
  bool echoes_rest_ = false;
  // Text of the answer that no delta has.
  std::string held_;
  int32_t num_tokens_ = 0;
  std::optional<std::string> stop_string_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_ANSWER_WRITER_H_
