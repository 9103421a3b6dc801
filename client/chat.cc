// lockstep chat: a conversation, turn by turn.

#include <unistd.h>

#include <csignal>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "client/answer_stream.h"
#include "client/chat_template_options.h"
#include "client/command.h"
#include "client/connection.h"
#include "client/request_options.h"

namespace lockstep::client {
namespace {

struct ChatOptions {
  RequestOptions request;
  ChatTemplateOptions chat_template;
};

class Conversation {
 public:
  Conversation(CommandContext& context, const ChatOptions& options, Connection& connection)
      : context_(context),
        options_(options),
        connection_(connection),
        interactive_(isatty(STDIN_FILENO)) {
    Clear();
  }

  // Reads turns until the input ends; returns the exit code.
  int Run() {
    if (interactive_ && !context_.json) {
      std::cerr << "Type a message. Ctrl-C stops an answer, Ctrl-D or /exit leaves; /clear forgets "
                   "the conversation.\n";
    }
    // Who stops an answer with Ctrl-C may be a moment late; that must not cost the conversation.
    std::optional<ScopedInterrupt> interrupt;
    if (interactive_) {
      interrupt.emplace(context_.interrupts, [this](int signal) { StayUnlessTold(signal); });
    }
    std::string line;
    while (ReadLine(line)) {
      if (line == "/exit" || line == "/quit") break;
      if (line == "/clear") {
        Clear();
      } else if (line == "/help") {
        std::cerr << "/clear   forget the conversation\n/exit    leave\n";
      } else if (!line.empty()) {
        if (const int code = TakeTurn(line); code != kExitOk) return code;
      }
    }
    if (interactive_) std::cerr << std::endl;
    return kExitOk;
  }

 private:
  // Ctrl-C at the prompt: the terminal has dropped what was typed, as a shell's does.
  void StayUnlessTold(int signal) const {
    if (signal != SIGINT) _exit(kExitInterrupted);
    std::cerr << "\n(Ctrl-D or /exit leaves)\n";
    ShowPrompt();
  }

  void ShowPrompt() const {
    if (interactive_ && !context_.json) std::cerr << "\n> " << std::flush;
  }

  bool ReadLine(std::string& line) {
    ShowPrompt();
    return static_cast<bool>(std::getline(std::cin, line));
  }

  void Clear() { chat_ = options_.chat_template.Begin(); }

  // An error of one turn ends an interactive session only if the server is gone: the message is
  // taken back instead.
  int TakeTurn(const std::string& text) {
    AddMessage("user", text, chat_);
    v1::GenerateRequest request = options_.request.MakeRequest();
    *request.mutable_chat() = chat_;
    const Answer answer = StreamAnswer(context_, connection_, request);
    if (!context_.json) std::cout << std::endl;
    if (!std::cout) return kExitServerError;
    if (answer.status.ok() || answer.interrupted_by != 0) {
      if (answer.interrupted_by != 0) std::cerr << "(stopped)\n";
      AddMessage("assistant", answer.text, chat_);
      const bool goes_on =
          answer.interrupted_by == 0 || (interactive_ && answer.interrupted_by == SIGINT);
      return goes_on ? kExitOk : kExitInterrupted;
    }
    chat_.mutable_messages()->RemoveLast();
    const int code = connection_.Fail(answer.status);
    const bool server_is_gone = answer.status.error_code() == grpc::StatusCode::UNAVAILABLE;
    return interactive_ && !server_is_gone ? kExitOk : code;
  }

  CommandContext& context_;
  const ChatOptions& options_;
  Connection& connection_;
  const bool interactive_;
  v1::Chat chat_;
};

int Run(CommandContext& context, const ChatOptions& options) {
  Connection connection(context);
  if (const grpc::Status ready = connection.WaitUntilReady(); !ready.ok())
    return connection.Fail(ready);
  return Conversation(context, options, connection).Run();
}

// Refuses an option of requests unless its value is the default's.
void Refuse(CLI::App& command, const std::string& option, const std::string& default_value,
            const std::string& reason) {
  const auto check = [=](const std::string& value) {
    return value == default_value ? std::string() : "not in a conversation: " + reason;
  };
  command.get_option(option)
      ->check(CLI::Validator(check, ""))
      ->group("Not in a conversation (generate --chat has them)");
}

}  // namespace

void AddChat(CLI::App& app, CommandContext& context, Command& chosen) {
  auto options = std::make_shared<ChatOptions>();
  CLI::App& command =
      *app.add_subcommand("chat", "A conversation; lines from standard input, or typed");
  options->chat_template.AddTo(command);
  options->request.AddTo(command);
  Refuse(command, "--echo", "false",
         "the prompt would become a part of the answer; generate --chat has it");
  Refuse(command, "--keep-special-tokens", "false",
         "the template would write them once more; generate --chat shows them");
  Refuse(command, "--num-sequences", "1",
         "it goes on from one answer; generate --chat shows several");
  command.callback([&context, &chosen, options] {
    chosen = [&context, options] { return Run(context, *options); };
  });
}

}  // namespace lockstep::client
