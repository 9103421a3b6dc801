// lockstep tokenize: a text as the model's tokens.

#include <iomanip>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/chat_template_options.h"
#include "client/command.h"
#include "client/connection.h"
#include "nlohmann/json.hpp"

namespace lockstep::client {
namespace {

struct TokenizeOptions {
  std::string text;
  ChatTemplateOptions chat_template;
  bool chat = false;
  bool no_special_tokens = false;
};

// A token may be a part of a character only: such bytes are shown as \xNN.
std::string Quoted(const std::string& bytes) {
  try {
    return nlohmann::json(bytes).dump();
  } catch (const nlohmann::json::type_error&) {  // not UTF-8
    return absl::StrCat("\"", absl::CHexEscape(bytes), "\"");
  }
}

int Run(const CommandContext& context, const TokenizeOptions& options) {
  v1::TokenizeRequest request;
  if (options.chat) {
    *request.mutable_chat() = options.chat_template.Begin();
    AddMessage("user", options.text, *request.mutable_chat());
  } else {
    request.set_text(options.text);
  }
  if (options.no_special_tokens) request.set_add_special_tokens(false);

  Connection connection(context);
  connection.WaitUntilConnected();
  grpc::ClientContext call;
  connection.SetDeadline(call);
  v1::TokenizeResponse response;
  const grpc::Status status = connection.inference().Tokenize(&call, request, &response);
  if (!status.ok()) return connection.Fail(status);
  if (context.json) {
    std::cout << ToJson(response) << std::endl;
    return kExitOk;
  }
  for (const v1::Token& token : response.tokens()) {
    std::cout << std::setw(8) << token.id() << "  " << Quoted(token.bytes()) << "\n";
  }
  std::cout << response.tokens_size() << " tokens" << std::endl;
  return kExitOk;
}

}  // namespace

void AddTokenize(CLI::App& app, CommandContext& context, Command& chosen) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App& command = *app.add_subcommand("tokenize", "Show a text as the model's tokens");
  command.add_option("text", options->text, "The text")->required();
  CLI::Option* chat = command.add_flag("--chat", options->chat,
                                       "Put the text into the model's chat template first");
  options->chat_template.AddTo(command, chat);
  command.add_flag("--no-special-tokens", options->no_special_tokens, "Add no special tokens");
  command.callback([&context, &chosen, options] {
    chosen = [&context, options] { return Run(context, *options); };
  });
}

}  // namespace lockstep::client
