// Command-line options of what goes through the model's chat template.
#ifndef LOCKSTEP_CLIENT_CHAT_TEMPLATE_OPTIONS_H_
#define LOCKSTEP_CLIENT_CHAT_TEMPLATE_OPTIONS_H_

#include <optional>
#include <string>

#include "CLI/App.hpp"
#include "lockstep/v1/prompt.pb.h"

namespace lockstep::client {

class ChatTemplateOptions {
 public:
  // Adds the options to a subcommand, each of which needs `chat` where there is one. This object
  // must outlive its parsing.
  void AddTo(CLI::App& command, CLI::Option* chat = nullptr);

  // A conversation at its beginning: the system's message and the template's variables, as given.
  v1::Chat Begin() const;

 private:
  std::string system_;
  std::optional<std::string> variables_;
};

void AddMessage(const std::string& role, const std::string& content, v1::Chat& chat);

}  // namespace lockstep::client

#endif  // LOCKSTEP_CLIENT_CHAT_TEMPLATE_OPTIONS_H_
