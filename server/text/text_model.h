#ifndef SERVER_TEXT_TEXT_MODEL_H_
#define SERVER_TEXT_TEXT_MODEL_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

struct LsTextModel;

namespace lockstep::server {

struct ChatMessage {
  std::string role;
  std::string content;
};

// The text side of a Hugging Face checkpoint: tokenizer, special tokens, chat template. It gives
// the ids and the text that transformers' AutoTokenizer gives for the same directory
// (tests/parity/text holds it to that).
//
// Immutable after Load; every method may be called from any number of threads at once.
class TextModel {
 public:
  // Reads tokenizer.json, which must be there, and where they exist tokenizer_config.json,
  // config.json, special_tokens_map.json, added_tokens.json, chat_template.jinja,
  // additional_chat_templates/*.jinja and chat_template.json. NOT_FOUND names what is missing,
  // INVALID_ARGUMENT the file and field that is wrong.
  static absl::StatusOr<std::unique_ptr<TextModel>> Load(const std::filesystem::path& model_dir);

  // INVALID_ARGUMENT where `utf8` is not UTF-8. `add_special_tokens` adds what the checkpoint's
  // post-processor adds, usually the BOS. Empty text gives the special tokens alone. The text of
  // special tokens inside `utf8` becomes those tokens, as in the reference.
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view utf8, bool add_special_tokens) const;

  // The prompt as the model sees it. It is to be encoded without adding special tokens: the
  // template writes them.
  //
  // `template_variables_json` is a JSON object, or empty; its members are variables of the
  // template, above bos_token and the like. `now` is what the template takes for the date (absent:
  // the system's clock).
  //
  // FAILED_PRECONDITION: the checkpoint has no template, or one that does not compile.
  // INVALID_ARGUMENT: no messages, not UTF-8, bad variables, or the template refused the messages
  // (then in its own words).
  absl::StatusOr<std::string> ApplyChatTemplate(absl::Span<const ChatMessage> messages,
                                                bool add_generation_prompt,
                                                std::string_view template_variables_json,
                                                std::optional<absl::Time> now = std::nullopt) const;

  // The text of `ids` by themselves: a tokenizer that writes a space before the first word takes it
  // off again. Always valid UTF-8; bytes that are none become U+FFFD. Ids that name no token are
  // left out; see CheckIds.
  std::string Decode(absl::Span<const int32_t> ids, bool skip_special_tokens) const;

  // INVALID_ARGUMENT naming the first id, and its index, that is negative or not below vocab_size.
  absl::Status CheckIds(absl::Span<const int32_t> ids) const;

  // The exact bytes that the token stands for, which need not be UTF-8 by themselves; an added
  // token's text verbatim. Empty for an id that names no token.
  std::string TokenBytes(int32_t id) const;

  // Whether skip_special_tokens leaves it out.
  bool IsSpecial(int32_t id) const;

  // One past the largest token id. The model's own vocabulary may be padded beyond it.
  int32_t vocab_size() const;

  // By the vocabulary's spelling ("▁the", "<0x0A>", "<|eot_id|>").
  std::optional<int32_t> TokenToId(std::string_view token) const;

  // "bos_token", "eos_token", "pad_token", …, as tokenizer_config.json and its relatives declare
  // them. generation_config and config may name further ends of sequence: those are not the
  // tokenizer's.
  std::optional<int32_t> SpecialTokenId(std::string_view name) const;
  std::optional<int32_t> bos_token_id() const { return SpecialTokenId("bos_token"); }
  std::optional<int32_t> eos_token_id() const { return SpecialTokenId("eos_token"); }

  // Also where none of the templates can be used: see warnings.
  bool has_chat_template() const;

  // What refuses chats although there is a template, one text for each, with the template's file.
  std::vector<std::string> warnings() const;

 private:
  friend class Detokenizer;
  friend class GuideCompiler;
  struct Free {
    void operator()(LsTextModel* model) const;
  };

  explicit TextModel(LsTextModel* model) : model_(model) {}

  const std::unique_ptr<LsTextModel, Free> model_;
};

}  // namespace lockstep::server

#endif  // SERVER_TEXT_TEXT_MODEL_H_
