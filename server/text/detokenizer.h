#ifndef SERVER_TEXT_DETOKENIZER_H_
#define SERVER_TEXT_DETOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "server/text/text_model.h"

struct LsTextStream;

namespace lockstep::server {

// Turns one answer's tokens into text as they come.
//
// What all Append calls and Flush returned, concatenated, is exactly TextModel::Decode of the
// appended ids: the answer by itself, without the prompt, so a SentencePiece answer begins without
// the space that its first word carries. Each piece is valid UTF-8. Text waits only while a later
// token can still change it: an incomplete character; and with a byte-fallback vocabulary a run of
// <0xNN> tokens, which the reference judges as a whole (valid, or one U+FFFD per byte), until the
// first other token. The work per token does not depend on the length of the answer.
//
// Used by one thread at a time. The model must outlive it.
class Detokenizer {
 public:
  Detokenizer(const TextModel& model, bool skip_special_tokens);
  // Goes on from where `other` is; costs as much as the text held back is long.
  Detokenizer(const Detokenizer& other);

  // The text that became final; often empty. Ids that name no token add nothing.
  std::string Append(int32_t id);

  // What Flush would return now: with what came before it, the answer's text if it ended here. For
  // checking stop strings without waiting for text that is held back. Costs as much as the text
  // held back is long.
  std::string Pending() const;

  // Ends the answer and returns the text that was held back. Nothing may be appended afterwards.
  std::string Flush();

 private:
  struct Free {
    void operator()(LsTextStream* stream) const;
  };

  const TextModel& model_;
  std::unique_ptr<LsTextStream, Free> stream_;
};

}  // namespace lockstep::server

#endif  // SERVER_TEXT_DETOKENIZER_H_
