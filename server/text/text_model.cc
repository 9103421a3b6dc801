#include "server/text/text_model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/text/rust_border.h"
#include "server/text/text_ffi.h"

namespace lockstep::server {
namespace {

std::optional<int32_t> IdOrNothing(int32_t id) {
  return id < 0 ? std::nullopt : std::optional<int32_t>(id);
}

}  // namespace

void TextModel::Free::operator()(LsTextModel* model) const { ls_text_free(model); }

absl::StatusOr<std::unique_ptr<TextModel>> TextModel::Load(const std::filesystem::path& model_dir) {
  LsTextModel* model = nullptr;
  RustString error;
  const int32_t code = ls_text_load(View(model_dir.native()), &model, error.out());
  if (code != kLsTextOk) return ToStatus(code, error);
  return std::unique_ptr<TextModel>(new TextModel(model));
}

absl::StatusOr<std::vector<int32_t>> TextModel::Encode(std::string_view utf8,
                                                       bool add_special_tokens) const {
  LsTextIds ids = {nullptr, 0, 0};
  RustString error;
  const int32_t code =
      ls_text_encode(model_.get(), View(utf8), add_special_tokens, &ids, error.out());
  if (code != kLsTextOk) return ToStatus(code, error);
  std::vector<int32_t> result(ids.data, ids.data + ids.size);
  ls_text_ids_free(ids);
  return result;
}

absl::StatusOr<std::string> TextModel::ApplyChatTemplate(absl::Span<const ChatMessage> messages,
                                                         bool add_generation_prompt,
                                                         std::string_view template_variables_json,
                                                         std::optional<absl::Time> now) const {
  std::vector<LsTextMessage> list;
  list.reserve(messages.size());
  for (const ChatMessage& message : messages) {
    list.push_back({View(message.role), View(message.content)});
  }
  const LsTextChat chat = {list.data(), list.size(), View(template_variables_json),
                           add_generation_prompt, absl::ToUnixSeconds(now.value_or(absl::Now()))};
  RustString prompt;
  RustString error;
  const int32_t code = ls_text_apply_chat_template(model_.get(), &chat, prompt.out(), error.out());
  if (code != kLsTextOk) return ToStatus(code, error);
  return prompt.str();
}

std::string TextModel::Decode(absl::Span<const int32_t> ids, bool skip_special_tokens) const {
  RustString text;
  RustString error;
  ls_text_decode(model_.get(), ids.data(), ids.size(), skip_special_tokens, text.out(),
                 error.out());
  return text.str();
}

absl::Status TextModel::CheckIds(absl::Span<const int32_t> ids) const {
  const int32_t limit = vocab_size();
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < limit) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("token_ids[", i, "] is ", ids[i], ": token ids run from 0 to ", limit - 1));
  }
  return absl::OkStatus();
}

std::string TextModel::TokenBytes(int32_t id) const {
  LsTextView bytes = {nullptr, 0};
  bool special = false;
  if (!ls_text_token(model_.get(), id, &bytes, &special)) return "";
  return std::string(reinterpret_cast<const char*>(bytes.data), bytes.size);
}

bool TextModel::IsSpecial(int32_t id) const {
  LsTextView bytes = {nullptr, 0};
  bool special = false;
  return ls_text_token(model_.get(), id, &bytes, &special) && special;
}

int32_t TextModel::vocab_size() const { return ls_text_vocab_size(model_.get()); }

std::optional<int32_t> TextModel::TokenToId(std::string_view token) const {
  return IdOrNothing(ls_text_token_to_id(model_.get(), View(token)));
}

std::optional<int32_t> TextModel::SpecialTokenId(std::string_view name) const {
  return IdOrNothing(ls_text_special_token(model_.get(), View(name)));
}

bool TextModel::has_chat_template() const { return ls_text_has_chat_template(model_.get()); }

std::vector<std::string> TextModel::warnings() const {
  std::vector<std::string> warnings;
  for (size_t i = 0; i < ls_text_num_warnings(model_.get()); ++i) {
    const LsTextView text = ls_text_warning(model_.get(), i);
    warnings.emplace_back(reinterpret_cast<const char*>(text.data), text.size);
  }
  return warnings;
}

}  // namespace lockstep::server
