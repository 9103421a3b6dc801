#include "server/admission/prompt_encoder.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/admission/field_error.h"
#include "server/admission/limits.h"

namespace lockstep::server {
namespace {

// Errors of the text library say what is wrong, not where in the request: those about the request
// get the field.
absl::Status AtField(const absl::Status& status, absl::string_view field) {
  // To the client, what this checkpoint cannot do is one thing with what no checkpoint can.
  if (!absl::IsInvalidArgument(status) && !absl::IsFailedPrecondition(status)) return status;
  return InvalidField(field, status.message());
}

absl::StatusOr<std::vector<ChatMessage>> ToChatMessages(const v1::Chat& chat) {
  if (chat.messages_size() == 0) {
    return InvalidField("chat.messages", "is empty; a chat needs at least one message");
  }
  if (static_cast<std::size_t>(chat.messages_size()) > limits::kChatMessages) {
    return InvalidField("chat.messages",
                        absl::StrCat("has ", chat.messages_size(), " messages; at most ",
                                     limits::kChatMessages, " are allowed"));
  }
  std::vector<ChatMessage> messages;
  messages.reserve(chat.messages_size());
  for (const auto& message : chat.messages()) {
    const std::string path = absl::StrCat("chat.messages[", messages.size(), "]");
    if (message.role().empty()) {
      return InvalidField(path + ".role", "is missing; usually it is system, user or assistant");
    }
    if (!message.has_content())
      return InvalidField(path + ".content", "is missing; it may be empty, but not absent");
    messages.push_back({message.role(), message.content()});
  }
  return messages;
}

// JSON has no other numbers. Recursion is bounded by the parser's limit on nesting.
bool HasOnlyFiniteNumbers(const google::protobuf::Struct& object);

bool HasOnlyFiniteNumbers(const google::protobuf::Value& value) {
  if (value.has_struct_value()) return HasOnlyFiniteNumbers(value.struct_value());
  const auto& items = value.list_value().values();
  return std::isfinite(value.number_value()) &&
         std::all_of(items.begin(), items.end(),
                     [](const auto& item) { return HasOnlyFiniteNumbers(item); });
}

bool HasOnlyFiniteNumbers(const google::protobuf::Struct& object) {
  return std::all_of(object.fields().begin(), object.fields().end(),
                     [](const auto& field) { return HasOnlyFiniteNumbers(field.second); });
}

// Protobuf's maps have another order in every message, and a template that prints them would give
// the same request another prompt. This one is that of most definitions of tools, with which models
// were trained.
nlohmann::ordered_json InOrder(const nlohmann::json& value) {
  if (value.is_array()) {
    auto items = nlohmann::ordered_json::array();
    for (const auto& item : value) items.push_back(InOrder(item));
    return items;
  }
  if (!value.is_object()) return value;
  constexpr std::string_view kFirst[] = {"type", "function", "name", "description", "parameters"};
  // An ordered object is a list: looking up each key of a large one would take minutes.
  nlohmann::ordered_json::object_t members;
  members.reserve(value.size());
  for (const std::string_view key : kFirst) {
    const auto member = value.find(key);
    if (member != value.end()) members.emplace_back(key, InOrder(*member));
  }
  for (const auto& [key, member] : value.items()) {
    const bool is_there = std::find(std::begin(kFirst), std::end(kFirst), key) != std::end(kFirst);
    if (!is_there) members.emplace_back(key, InOrder(member));
  }
  return members;
}

absl::StatusOr<std::string> ToJson(const google::protobuf::Struct& variables) {
  if (!HasOnlyFiniteNumbers(variables)) {
    return InvalidField("chat.template_variables",
                        "has a number that is NaN or infinite, which JSON cannot write");
  }
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(variables, &json);
  if (!status.ok()) {
    return InvalidField("chat.template_variables",
                        absl::StrCat("cannot be written as JSON: ", std::string(status.message())));
  }
  return InOrder(nlohmann::json::parse(json)).dump();
}

// The template's variables as a JSON object; empty for none.
absl::StatusOr<std::string> TemplateVariables(const v1::Chat& chat) {
  if (!chat.has_template_variables_json()) {
    return chat.has_template_variables() ? ToJson(chat.template_variables()) : std::string();
  }
  constexpr char kField[] = "chat.template_variables_json";
  if (chat.has_template_variables()) {
    return InvalidField(kField, "is set beside template_variables: put all variables into one");
  }
  const std::string& json = chat.template_variables_json();
  const auto parsed = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return InvalidField(kField, "is not the text of a JSON object");
  return json;
}

std::size_t NumBytes(const v1::Chat& chat) {
  std::size_t num_bytes = 0;
  for (const auto& message : chat.messages())
    num_bytes += message.role().size() + message.content().size();
  return num_bytes + chat.template_variables().ByteSizeLong() +
         chat.template_variables_json().size();
}

}  // namespace

absl::StatusOr<EncodedPrompt> PromptEncoder::EncodeText(
    const std::string& text, std::optional<bool> add_special_tokens) const {
  if (text.empty()) return InvalidField("text", "is empty; a prompt needs at least one character");
  auto ids = Encode(text, add_special_tokens.value_or(true), "text");
  if (!ids.ok()) return ids.status();
  return EncodedPrompt{*std::move(ids), text};
}

absl::StatusOr<EncodedPrompt> PromptEncoder::EncodeIds(const v1::TokenIds& ids,
                                                       absl::string_view field) const {
  if (ids.ids().empty()) {
    return InvalidField(absl::StrCat(field, ".ids"), "is empty; a prompt needs at least one token");
  }
  if (auto status = CheckSize(ids, field); !status.ok()) return status;
  EncodedPrompt prompt;
  prompt.token_ids.reserve(ids.ids_size());
  for (int i = 0; i < ids.ids_size(); ++i) {
    if (ids.ids(i) >= static_cast<uint32_t>(model_.vocab_size)) {
      return InvalidField(
          absl::StrCat(field, ".ids[", i, "]"),
          absl::StrCat("is ", ids.ids(i), "; the vocabulary has the ids 0 to ",
                       model_.vocab_size - 1, "; was it tokenized for another model?"));
    }
    prompt.token_ids.push_back(static_cast<int32_t>(ids.ids(i)));
  }
  return prompt;
}

absl::StatusOr<EncodedPrompt> PromptEncoder::EncodeChat(const v1::Chat& chat) const {
  if (!text_.has_chat_template()) {
    return InvalidField("chat",
                        absl::StrCat("the model ", model_.name,
                                     " has no chat template; send the whole prompt as text"));
  }
  auto messages = ToChatMessages(chat);
  if (!messages.ok()) return messages.status();
  if (auto status = CheckSize(chat); !status.ok()) return status;
  auto variables = TemplateVariables(chat);
  if (!variables.ok()) return variables.status();
  const bool add_generation_prompt =
      chat.has_add_generation_prompt() ? chat.add_generation_prompt() : true;
  auto text = text_.ApplyChatTemplate(*messages, add_generation_prompt, *variables);
  if (!text.ok()) return AtField(text.status(), "chat");
  // The template wrote the special tokens itself.
  auto ids = Encode(*text, /*add_special_tokens=*/false, "chat");
  if (!ids.ok()) return ids.status();
  return EncodedPrompt{*std::move(ids), *std::move(text)};
}

absl::Status PromptEncoder::CheckSize(const std::string& text) const {
  return CheckTextSize(text.size(), "text");
}

absl::Status PromptEncoder::CheckSize(const v1::TokenIds& ids, absl::string_view field) const {
  const std::size_t limit = MaxTextBytes() + limits::kTokensBesideText;
  if (static_cast<std::size_t>(ids.ids_size()) <= limit) return absl::OkStatus();
  return InvalidField(
      absl::StrCat(field, ".ids"),
      absl::StrCat("has ", ids.ids_size(), " token ids; at most ", limit,
                   " are taken for a context of ", model_.max_model_len, " tokens; send fewer"));
}

absl::Status PromptEncoder::CheckSize(const v1::Chat& chat) const {
  return CheckTextSize(NumBytes(chat), "chat");
}

absl::Status PromptEncoder::CheckRoomForAnswer(std::size_t num_tokens,
                                               absl::string_view field) const {
  if (num_tokens < static_cast<std::size_t>(model_.max_model_len)) return absl::OkStatus();
  return InvalidField(
      field, absl::StrCat("the prompt has ", num_tokens, " tokens; the context holds ",
                          model_.max_model_len,
                          ", and at least one must be left for the answer; shorten the prompt"));
}

std::size_t PromptEncoder::MaxTextBytes() const {
  return std::max(limits::kMinTextBytes, model_.max_model_len * limits::kTextBytesPerToken);
}

absl::Status PromptEncoder::CheckTextSize(std::size_t num_bytes, absl::string_view field) const {
  const std::size_t limit = MaxTextBytes();
  if (num_bytes <= limit) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("the prompt has ", num_bytes, " bytes; at most ", limit,
                                          " are taken for a context of ", model_.max_model_len,
                                          " tokens; shorten the prompt"));
}

absl::StatusOr<std::vector<int32_t>> PromptEncoder::Encode(const std::string& text,
                                                           bool add_special_tokens,
                                                           absl::string_view field) const {
  if (auto status = CheckTextSize(text.size(), field); !status.ok()) return status;
  auto ids = text_.Encode(text, add_special_tokens);
  if (!ids.ok()) return AtField(ids.status(), field);
  if (ids->empty()) return InvalidField(field, "gives no tokens; a prompt needs at least one");
  auto unknown =
      std::find_if(ids->begin(), ids->end(), [&](int32_t id) { return id >= model_.vocab_size; });
  if (unknown != ids->end()) {
    return InvalidField(field, absl::StrCat("contains the token ", *unknown,
                                            ", which the tokenizer knows but the "
                                            "model, with its vocabulary of ",
                                            model_.vocab_size, ", does not"));
  }
  return ids;
}

}  // namespace lockstep::server
