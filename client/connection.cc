#include "client/connection.h"

#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <iostream>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/error_report.h"
#include "google/protobuf/util/json_util.h"
#include "grpcpp/create_channel.h"

namespace lockstep::client {
namespace {

constexpr auto kPollInterval = std::chrono::milliseconds(150);
// A server that accepts connections but does not answer must not hang the client.
constexpr auto kInfoTimeout = std::chrono::seconds(5);

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& target) {
  grpc::ChannelArguments arguments;
  // Logits of a whole batch pass gRPC's default of 4 MiB easily.
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // How long one attempt may take: a server that is there may be busy. Nobody there is known at
  // once.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

class LoadingLine {
 public:
  ~LoadingLine() { Clear(); }

  void Show(const std::string& text) {
    if (!isatty(STDERR_FILENO)) return;
    std::cerr << "\r\033[K" << text << std::flush;
    shown_ = true;
  }
  void Clear() {
    if (shown_) std::cerr << "\r\033[K" << std::flush;
    shown_ = false;
  }

 private:
  bool shown_ = false;
};

}  // namespace

Connection::Connection(const CommandContext& options)
    : options_(options),
      channel_(MakeChannel(options.target)),
      inference_(v1::Inference::NewStub(channel_)),
      admin_(v1::Admin::NewStub(channel_)) {}

grpc::Status Connection::WaitUntilReady() {
  const auto give_up =
      std::chrono::steady_clock::now() + std::chrono::duration<double>(options_.wait);
  LoadingLine line;
  while (true) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kInfoTimeout);
    v1::GetServerInfoResponse info;
    const grpc::Status status = admin_->GetServerInfo(&context, {}, &info);
    if (status.ok()) {
      if (info.state() != v1::POOL_STATE_STARTING && info.state() != v1::POOL_STATE_LOADING)
        return status;
      line.Show(DescribeLoading(info));
    } else {
      const bool may_come = status.error_code() == grpc::StatusCode::UNAVAILABLE;
      // Another's authorization of Admin is no reason not to try the call itself.
      if (status.error_code() == grpc::StatusCode::PERMISSION_DENIED) return grpc::Status::OK;
      if (!may_come || std::chrono::steady_clock::now() >= give_up) return status;
      line.Show(absl::StrCat("waiting for a server at ", options_.target));
    }
    // Paces the polling: waits for a change of the channel's state, at most one interval.
    channel_->WaitForStateChange(channel_->GetState(true),
                                 std::chrono::system_clock::now() + kPollInterval);
  }
}

void Connection::SetDeadline(grpc::ClientContext& context) const {
  if (options_.timeout <= 0) return;
  const auto timeout = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::duration<double>(options_.timeout));
  context.set_deadline(std::chrono::system_clock::now() + timeout);
}

int Connection::Fail(const grpc::Status& status) const {
  if (options_.json) {
    std::cout << DescribeErrorAsJson(status) << std::endl;
  } else {
    std::cerr << DescribeError(status, options_.target);
  }
  return status.error_code() == grpc::StatusCode::CANCELLED ? kExitInterrupted : kExitServerError;
}

std::string DescribeLoading(const v1::GetServerInfoResponse& info) {
  std::string text = info.state() == v1::POOL_STATE_LOADING ? "loading:" : "starting the workers";
  for (const v1::RankInfo& rank : info.ranks()) {
    if (rank.bytes_total() == 0) continue;
    absl::StrAppendFormat(
        &text, " rank %u %3.0f%% of %.2f GB ", rank.rank(),
        100.0 * static_cast<double>(rank.bytes_loaded()) / static_cast<double>(rank.bytes_total()),
        static_cast<double>(rank.bytes_total()) * 1e-9);
  }
  return text;
}

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions print;
  print.preserve_proto_field_names = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, print);
  if (!status.ok())
    return absl::StrCat(
        "{\"error\": {\"message\": \"not printable as JSON: ", message.GetTypeName(), "\"}}");
  return json;
}

}  // namespace lockstep::client
