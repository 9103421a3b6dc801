// From what clients send as a prompt to the token ids that the model runs.
#ifndef LOCKSTEP_SERVER_ADMISSION_PROMPT_ENCODER_H_
#define LOCKSTEP_SERVER_ADMISSION_PROMPT_ENCODER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lockstep/v1/prompt.pb.h"
#include "server/admission/served_model.h"
#include "server/text/text_model.h"

namespace lockstep::server {

struct EncodedPrompt {
  // Each in [0, vocab_size).
  std::vector<int32_t> token_ids;
  // The prompt as the model sees it: as given, or with the chat template applied. Absent for token
  // ids.
  std::optional<std::string> text;
};

// Errors are INVALID_ARGUMENT and name the field; FAILED_PRECONDITION for a chat where the
// checkpoint has no template. Thread-safe; borrows both models.
class PromptEncoder {
 public:
  PromptEncoder(const ServedModel& model, const TextModel& text) : model_(model), text_(text) {}

  // `add_special_tokens`: absent means as the tokenizer does by default, which is to add them.
  absl::StatusOr<EncodedPrompt> EncodeText(const std::string& text,
                                           std::optional<bool> add_special_tokens) const;
  // No more ids than the longest text could give.
  absl::StatusOr<EncodedPrompt> EncodeIds(const v1::TokenIds& ids, absl::string_view field) const;
  absl::StatusOr<EncodedPrompt> EncodeChat(const v1::Chat& chat) const;

  // What the functions above refuse by its size alone, before anything is done for it.
  absl::Status CheckSize(const std::string& text) const;
  absl::Status CheckSize(const v1::TokenIds& ids, absl::string_view field) const;
  absl::Status CheckSize(const v1::Chat& chat) const;

  // The prompt must leave room for one token of an answer: `num_tokens` is at most max_model_len
  // - 1.
  absl::Status CheckRoomForAnswer(std::size_t num_tokens, absl::string_view field) const;

 private:
  std::size_t MaxTextBytes() const;
  absl::Status CheckTextSize(std::size_t num_bytes, absl::string_view field) const;
  absl::StatusOr<std::vector<int32_t>> Encode(const std::string& text, bool add_special_tokens,
                                              absl::string_view field) const;

  const ServedModel& model_;
  const TextModel& text_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ADMISSION_PROMPT_ENCODER_H_
