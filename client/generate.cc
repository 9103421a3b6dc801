// lockstep generate: one prompt, one answer.

#include <atomic>
#include <chrono>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>

#include "client/answer_stream.h"
#include "client/chat_template_options.h"
#include "client/command.h"
#include "client/connection.h"
#include "client/option_checks.h"
#include "client/request_options.h"

namespace lockstep::client {
namespace {

struct GenerateOptions {
  RequestOptions request;
  std::string prompt;
  std::optional<std::string> token_ids;
  ChatTemplateOptions chat_template;
  bool chat = false;
  bool no_stream = false;
  bool stats = false;
};

std::string ReadStandardInput() {
  return std::string(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
}

v1::GenerateRequest MakeRequest(const GenerateOptions& options) {
  v1::GenerateRequest request = options.request.MakeRequest();
  if (options.token_ids.has_value()) {
    AddTokenIds(*options.token_ids, *request.mutable_token_ids());
    return request;
  }
  const std::string prompt = options.prompt == "-" ? ReadStandardInput() : options.prompt;
  if (!options.chat) {
    request.set_text(prompt);
    return request;
  }
  *request.mutable_chat() = options.chat_template.Begin();
  AddMessage("user", prompt, *request.mutable_chat());
  return request;
}

void PrintWhole(const v1::GenerateResponse& response) {
  for (const v1::GeneratedSequence& sequence : response.sequences()) {
    if (response.sequences_size() > 1) std::cout << "[" << sequence.index() << "] ";
    std::cout << sequence.text() << std::endl;
  }
}

int GenerateWhole(CommandContext& context, Connection& connection,
                  const v1::GenerateRequest& request, bool stats) {
  grpc::ClientContext call;
  connection.SetDeadline(call);
  v1::GenerateResponse response;
  grpc::Status status;
  std::atomic<bool> interrupted = false;
  const auto start = std::chrono::steady_clock::now();
  {
    const ScopedInterrupt interrupt(context.interrupts, [&](int) {
      interrupted = true;
      call.TryCancel();
    });
    status = connection.inference().Generate(&call, request, &response);
  }
  if (!status.ok()) return interrupted ? kExitInterrupted : connection.Fail(status);
  AnswerFigures figures;
  figures.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  for (const v1::GeneratedSequence& sequence : response.sequences())
    figures.Add(sequence.finished());
  if (context.json) {
    std::cout << ToJson(response) << std::endl;
  } else {
    PrintWhole(response);
  }
  if (stats) std::cerr << DescribeAnswer(figures) << std::endl;
  return kExitOk;
}

int GenerateStreamed(CommandContext& context, Connection& connection,
                     const v1::GenerateRequest& request, bool stats) {
  const Answer answer = StreamAnswer(context, connection, request);
  if (!std::cout) return kExitServerError;
  const bool has_line = answer.status.ok() || !answer.text.empty();
  if (has_line && !context.json) std::cout << std::endl;
  if (!answer.status.ok())
    return answer.interrupted_by != 0 ? kExitInterrupted : connection.Fail(answer.status);
  if (stats) std::cerr << DescribeAnswer(answer.figures) << std::endl;
  return kExitOk;
}

int Run(CommandContext& context, const GenerateOptions& options) {
  const v1::GenerateRequest request = MakeRequest(options);
  Connection connection(context);
  if (const grpc::Status ready = connection.WaitUntilReady(); !ready.ok())
    return connection.Fail(ready);
  // The texts of several answers would interleave.
  const bool is_several = request.num_sequences() > 1 && !context.json;
  if (options.no_stream || is_several) {
    return GenerateWhole(context, connection, request, options.stats);
  }
  return GenerateStreamed(context, connection, request, options.stats);
}

}  // namespace

void AddGenerate(CLI::App& app, CommandContext& context, Command& chosen) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App& command =
      *app.add_subcommand("generate", "Complete a text, or answer one question with --chat");
  CLI::Option* prompt =
      command.add_option("prompt", options->prompt, "The prompt; - reads it from standard input");
  CLI::Option* ids = command
                         .add_option("--token-ids", options->token_ids,
                                     "The prompt as token ids, separated by commas")
                         ->check(TokenIdList())
                         ->excludes(prompt);
  CLI::Option* chat =
      command.add_flag("--chat", options->chat, "Put the prompt into the model's chat template")
          ->excludes(ids);
  options->chat_template.AddTo(command, chat);
  command.add_flag("--no-stream", options->no_stream,
                   "Show the answer when it is whole, as several answers always are");
  command.add_flag("--stats", options->stats, "Say on stderr how long it took");
  options->request.AddTo(command);
  command.callback([&context, &chosen, options, prompt, ids] {
    if (prompt->count() + ids->count() == 0)
      throw CLI::RequiredError("a prompt (a text, - or --token-ids)");
    chosen = [&context, options] { return Run(context, *options); };
  });
}

}  // namespace lockstep::client
