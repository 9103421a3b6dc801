#include "client/chat_template_options.h"

namespace lockstep::client {

void ChatTemplateOptions::AddTo(CLI::App& command, CLI::Option* chat) {
  CLI::Option* const options[] = {
      command.add_option("--system", system_, "A system message before everything else"),
      command
          .add_option("--template-variables", variables_,
                      "Further variables of the chat template, such as '{\"tools\": [...]}'")
          ->type_name("JSON")};
  for (CLI::Option* option : options) {
    if (chat != nullptr) option->needs(chat);
  }
}

v1::Chat ChatTemplateOptions::Begin() const {
  v1::Chat chat;
  if (variables_.has_value()) chat.set_template_variables_json(*variables_);
  if (!system_.empty()) AddMessage("system", system_, chat);
  return chat;
}

void AddMessage(const std::string& role, const std::string& content, v1::Chat& chat) {
  v1::ChatMessage& message = *chat.add_messages();
  message.set_role(role);
  message.set_content(content);
}

}  // namespace lockstep::client
