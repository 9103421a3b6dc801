// lockstep status: what the server is and does.

#include <iostream>
#include <memory>
#include <string>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "client/command.h"
#include "client/connection.h"
#include "client/watch.h"

namespace lockstep::client {
namespace {

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

void PrintModel(const v1::GetModelInfoResponse& model) {
  std::cout << absl::StrFormat("model     %s (%s, %.2f M parameters, %s)\n", model.model(),
                               model.architecture(),
                               static_cast<double>(model.num_parameters()) * 1e-6, model.dtype());
  std::cout << absl::StrFormat(
      "shape     %u layers, hidden %u, %u heads / %u KV heads of %u, vocabulary %u\n",
      model.num_hidden_layers(), model.hidden_size(), model.num_attention_heads(),
      model.num_key_value_heads(), model.head_dim(), model.vocab_size());
  std::cout << absl::StrFormat("limits    %u tokens of context, %u sequences, %u tokens per step\n",
                               model.max_model_len(), model.max_num_seqs(),
                               model.max_num_batched_tokens());
}

void PrintServer(const v1::GetServerInfoResponse& info) {
  const double used = info.kv_blocks_total() == 0
                          ? 0
                          : 100.0 * static_cast<double>(info.kv_blocks_used()) /
                                static_cast<double>(info.kv_blocks_total());
  std::cout << absl::StrFormat(
      "server    lockstep %s, %s, up %s\n", info.version(), StateName(info.state()),
      absl::FormatDuration(absl::Trunc(ToDuration(info.uptime()), absl::Seconds(1))));
  std::cout << absl::StrFormat("requests  %u running, %u waiting\n", info.num_running(),
                               info.num_waiting());
  std::cout << absl::StrFormat("kv cache  %d of %d blocks used (%.1f %%)\n", info.kv_blocks_used(),
                               info.kv_blocks_total(), used);
  std::cout << absl::StrFormat("so far    %d steps, %d prompt tokens, %d generated tokens\n",
                               info.steps(), info.prompt_tokens(), info.generated_tokens());
  for (const v1::RankInfo& rank : info.ranks()) {
    std::cout << absl::StrFormat(
        "rank %-4u %s, pid %u, %s, weights %.2f GB, KV cache %.2f GB, last step %d, %s ago\n",
        rank.rank(), StateName(rank.state()), rank.pid(), rank.device(),
        static_cast<double>(rank.weight_bytes()) * 1e-9,
        static_cast<double>(rank.kv_cache_bytes()) * 1e-9, rank.last_step(),
        absl::FormatDuration(absl::Trunc(ToDuration(rank.step_age()), absl::Milliseconds(1))));
  }
}

int Run(const CommandContext& context) {
  Connection connection(context);
  connection.WaitUntilConnected();
  v1::GetServerInfoResponse info;
  v1::GetModelInfoResponse model;
  {
    grpc::ClientContext call;
    connection.SetDeadline(call);
    const grpc::Status status = connection.admin().GetServerInfo(&call, {}, &info);
    if (!status.ok()) return connection.Fail(status);
  }
  grpc::ClientContext call;
  connection.SetDeadline(call);
  const grpc::Status status = connection.inference().GetModelInfo(&call, {}, &model);
  if (!status.ok()) return connection.Fail(status);
  if (context.json) {
    std::cout << "{\"server\": " << ToJson(info) << ", \"model\": " << ToJson(model) << "}"
              << std::endl;
    return kExitOk;
  }
  PrintModel(model);
  PrintServer(info);
  if (info.state() == v1::POOL_STATE_LOADING) std::cout << DescribeLoading(info) << "\n";
  return kExitOk;
}

}  // namespace

void AddStatus(CLI::App& app, CommandContext& context, Command& chosen) {
  CLI::App& command =
      *app.add_subcommand("status", "Show the server's model, ranks, queue and KV cache");
  struct Options {
    bool watch = false;
    double interval = 1;
  };
  auto options = std::make_shared<Options>();
  CLI::Option* watch =
      command.add_flag("--watch", options->watch,
                       "Go on showing it, with throughput, until Ctrl-C; waits for a "
                       "server that is not there");
  command.add_option("--interval", options->interval, "Seconds between two looks")
      ->check(CLI::Range(0.05, 3600.0))
      ->needs(watch)
      ->capture_default_str();
  command.callback([&context, &chosen, options] {
    chosen = [&context, options] {
      if (!options->watch) return Run(context);
      Connection connection(context);
      return Watch(context, connection, options->interval);
    };
  });
}

}  // namespace lockstep::client
