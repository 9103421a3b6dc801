#include "server/rpc/text_calls.h"

#include <optional>
#include <utility>

#include "server/admission/field_error.h"

namespace lockstep::server {
namespace {

absl::StatusOr<EncodedPrompt> Encode(const PromptEncoder& encoder,
                                     const v1::TokenizeRequest& request) {
  switch (request.prompt_case()) {
    case v1::TokenizeRequest::kText:
      return encoder.EncodeText(request.text(),
                                request.has_add_special_tokens()
                                    ? std::optional<bool>(request.add_special_tokens())
                                    : std::nullopt);
    case v1::TokenizeRequest::kTokenIds:
      return encoder.EncodeIds(request.token_ids(), "token_ids");
    case v1::TokenizeRequest::kChat:
      return encoder.EncodeChat(request.chat());
    case v1::TokenizeRequest::PROMPT_NOT_SET:
      break;
  }
  return InvalidField("prompt", "is missing; set exactly one of text, token_ids, chat");
}

}  // namespace

absl::StatusOr<v1::TokenizeResponse> Tokenize(const Admission& admission, const TextModel& text,
                                              const v1::TokenizeRequest& request) {
  if (auto status = admission.CheckModel(request.model()); !status.ok()) return status;
  auto prompt = Encode(admission.encoder(), request);
  if (!prompt.ok()) return prompt.status();
  v1::TokenizeResponse response;
  for (int32_t id : prompt->token_ids) {
    response.add_token_ids(static_cast<uint32_t>(id));
    auto& token = *response.add_tokens();
    token.set_id(static_cast<uint32_t>(id));
    token.set_bytes(text.TokenBytes(id));
  }
  response.set_text(prompt->text.has_value()
                        ? *std::move(prompt->text)
                        : text.Decode(prompt->token_ids, /*skip_special_tokens=*/false));
  return response;
}

absl::StatusOr<v1::DetokenizeResponse> Detokenize(const Admission& admission, const TextModel& text,
                                                  const v1::DetokenizeRequest& request) {
  if (auto status = admission.CheckModel(request.model()); !status.ok()) return status;
  if (!request.has_token_ids()) return InvalidField("token_ids", "is missing");
  v1::DetokenizeResponse response;
  response.set_text("");
  response.set_bytes("");
  if (request.token_ids().ids().empty()) return response;
  auto ids = admission.encoder().EncodeIds(request.token_ids(), "token_ids");
  if (!ids.ok()) return ids.status();
  response.set_text(text.Decode(ids->token_ids, request.skip_special_tokens()));
  for (int32_t id : ids->token_ids) {
    if (request.skip_special_tokens() && text.IsSpecial(id)) continue;
    response.mutable_bytes()->append(text.TokenBytes(id));
  }
  return response;
}

}  // namespace lockstep::server
