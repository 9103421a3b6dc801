// lockstep forward: one forward pass, logits back.

#include <algorithm>
#include <cstring>
#include <iostream>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "client/command.h"
#include "client/connection.h"
#include "client/option_checks.h"

namespace lockstep::client {
namespace {

struct ForwardOptions {
  std::vector<std::string> prompts;  // each "1,2,3"
  bool all_positions = false;
  int top = 5;
};

// The best tokens of one row of logits [vocab_size].
void PrintRow(size_t prompt, int64_t row, const std::vector<float>& logits, int top) {
  std::vector<uint32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const size_t count = std::min<size_t>(static_cast<size_t>(top), order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(count), order.end(),
                    [&](uint32_t a, uint32_t b) {
                      return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
                    });
  std::cout << absl::StrFormat("prompt %d, row %d:", prompt, row);
  for (size_t i = 0; i < count; ++i)
    std::cout << absl::StrFormat("  %u: %.4f", order[i], logits[order[i]]);
  std::cout << "\n";
}

void PrintOutputs(const v1::ForwardResponse& response, int top) {
  for (int i = 0; i < response.outputs_size(); ++i) {
    const v1::LogitsTensor& output = response.outputs(i);
    const int64_t rows = output.shape(0);
    const auto vocab_size = static_cast<size_t>(output.shape(1));
    std::vector<float> logits(vocab_size);
    for (int64_t row = 0; row < rows; ++row) {
      std::memcpy(logits.data(),
                  output.logits().data() + static_cast<size_t>(row) * vocab_size * sizeof(float),
                  vocab_size * sizeof(float));
      PrintRow(static_cast<size_t>(i), row, logits, top);
    }
  }
  const double seconds =
      static_cast<double>(response.duration().seconds()) + response.duration().nanos() * 1e-9;
  std::cout << absl::StrFormat("%.3f ms in the model", seconds * 1e3) << std::endl;
}

int Run(const CommandContext& context, const ForwardOptions& options) {
  v1::ForwardRequest request;
  request.set_all_positions(options.all_positions);
  for (const std::string& prompt : options.prompts) AddTokenIds(prompt, *request.add_prompts());
  Connection connection(context);
  if (const grpc::Status ready = connection.WaitUntilReady(); !ready.ok())
    return connection.Fail(ready);
  grpc::ClientContext call;
  connection.SetDeadline(call);
  v1::ForwardResponse response;
  const grpc::Status status = connection.inference().Forward(&call, request, &response);
  if (!status.ok()) return connection.Fail(status);
  if (context.json) {
    std::cout << ToJson(response) << std::endl;
  } else {
    PrintOutputs(response, options.top);
  }
  return kExitOk;
}

}  // namespace

void AddForward(CLI::App& app, CommandContext& context, Command& chosen) {
  auto options = std::make_shared<ForwardOptions>();
  CLI::App& command =
      *app.add_subcommand("forward", "Run prompts through the model once and show the logits");
  command.add_option("prompts", options->prompts, "Each prompt as token ids: 1,306,4658 1,15043")
      ->required()
      ->check(TokenIdList());
  command.add_flag("--all-positions", options->all_positions,
                   "Logits at every position, not at the last alone");
  command.add_option("--top", options->top, "How many of the best tokens to show")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command.callback([&context, &chosen, options] {
    chosen = [&context, options] { return Run(context, *options); };
  });
}

}  // namespace lockstep::client
