#include "client/connection.h"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/error_report.h"
#include "client/terminal_line.h"
#include "google/protobuf/util/json_util.h"
#include "grpcpp/create_channel.h"

namespace lockstep::client {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr auto kPollInterval = std::chrono::milliseconds(150);
// A server that accepts connections but does not answer must not hang the client.
constexpr Seconds kInfoTimeout(5);
// What an answer may take even where --wait is shorter, or over.
constexpr Seconds kShortestInfoTimeout(1);
// Between two lines that say the same, where there is no terminal.
constexpr Seconds kLineInterval(10);
constexpr int kKeepaliveMs = 10'000;
constexpr int kKeepaliveTimeoutMs = 10'000;

template <typename Time>
Time After(Time time, Seconds seconds) {
  return time + std::chrono::duration_cast<typename Time::duration>(seconds);
}

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& target) {
  grpc::ChannelArguments arguments;
  // Logits of a whole batch pass gRPC's default of 4 MiB easily.
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // How long one attempt may take: a server that is there may be busy. Nobody there is known at
  // once.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 20'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // A server whose machine vanished without a word is noticed while it is waited for.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

// Says what is waited for: on a terminal in place, elsewhere a line for each state and now and
// then.
class WaitingLine {
 public:
  // UNSPECIFIED: nobody answers.
  void Show(v1::PoolState state, const std::string& text) {
    line_.Show(text);
    if (line_.is_terminal() || (state == state_ && Clock::now() < next_)) return;
    std::cerr << text << std::endl;
    state_ = state;
    next_ = After(Clock::now(), kLineInterval);
  }

 private:
  TerminalLine line_;
  std::optional<v1::PoolState> state_;  // of the last line
  Clock::time_point next_;
};

bool IsLoading(const v1::GetServerInfoResponse& info) {
  return info.state() == v1::POOL_STATE_STARTING || info.state() == v1::POOL_STATE_LOADING;
}

// Whether a call that ended so may do better a moment later.
bool MayCome(grpc::StatusCode code) {
  return code == grpc::StatusCode::UNAVAILABLE || code == grpc::StatusCode::DEADLINE_EXCEEDED;
}

std::string NobodyAt(const CommandContext& options) {
  return absl::StrCat("waiting for a server at ", options.target);
}

// How long one look at the server may take, `waited` after the first.
Seconds InfoTimeout(const CommandContext& options, Seconds waited) {
  Seconds limit = kInfoTimeout;
  if (options.timeout > 0) limit = std::min(limit, Seconds(options.timeout));
  if (options.wait.has_value()) {
    limit = std::min(limit, std::max(Seconds(*options.wait) - waited, kShortestInfoTimeout));
  }
  return limit;
}

grpc::Status NotAnswered(const CommandContext& options, Seconds waited) {
  const bool is_callers_limit = options.timeout > 0 && Seconds(options.timeout) < kInfoTimeout;
  return {
      grpc::StatusCode::DEADLINE_EXCEEDED,
      absl::StrFormat("%s has not answered within %.3g s: check --target, or allow more time "
                      "with %s",
                      options.target, waited.count(), is_callers_limit ? "--timeout" : "--wait")};
}

grpc::Status StillLoading(const CommandContext& options, const v1::GetServerInfoResponse& info) {
  const std::string state = DescribeLoading(info);
  if (options.wait.has_value()) {
    return {grpc::StatusCode::UNAVAILABLE,
            absl::StrFormat("the server is not ready after --wait %g s (%s): allow more, or leave "
                            "--wait out to wait as long as it loads",
                            *options.wait, state)};
  }
  return {grpc::StatusCode::DEADLINE_EXCEEDED,
          absl::StrFormat("the server is not ready after --timeout %g s (%s): say with --wait how "
                          "long it may load",
                          options.timeout, state)};
}

}  // namespace

Connection::Connection(const CommandContext& options)
    : options_(options),
      channel_(MakeChannel(options.target)),
      inference_(v1::Inference::NewStub(channel_)),
      admin_(v1::Admin::NewStub(channel_)) {}

grpc::Status Connection::WaitUntilReady() {
  const Clock::time_point start = Clock::now();
  const Clock::time_point absent_until = After(start, Seconds(options_.wait.value_or(0)));
  Clock::time_point loading_until = Clock::time_point::max();
  if (options_.wait.has_value()) {
    loading_until = absent_until;
  } else if (options_.timeout > 0) {
    loading_until = After(start, Seconds(options_.timeout));
  }
  WaitingLine line;
  while (true) {
    grpc::ClientContext context;
    context.set_deadline(
        After(std::chrono::system_clock::now(), InfoTimeout(options_, Clock::now() - start)));
    v1::GetServerInfoResponse info;
    const grpc::Status status = admin_->GetServerInfo(&context, {}, &info);
    const Clock::time_point now = Clock::now();
    if (status.ok()) {
      if (!IsLoading(info)) return status;
      if (now >= loading_until) return StillLoading(options_, info);
      line.Show(info.state(), DescribeLoading(info));
    } else {
      // Another's authorization of Admin is no reason not to try the call itself.
      if (status.error_code() == grpc::StatusCode::PERMISSION_DENIED) return grpc::Status::OK;
      if (!MayCome(status.error_code())) return status;
      if (now >= absent_until) {
        const bool is_silent = status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
        return is_silent ? NotAnswered(options_, now - start) : status;
      }
      line.Show(v1::POOL_STATE_UNSPECIFIED, NobodyAt(options_));
    }
    // Paces the polling: waits for a change of the channel's state, at most one interval.
    channel_->WaitForStateChange(channel_->GetState(true),
                                 std::chrono::system_clock::now() + kPollInterval);
  }
}

void Connection::WaitUntilConnected() {
  if (options_.wait.value_or(0) <= 0) return;
  const auto now = std::chrono::system_clock::now();
  // Connected at once, it has nothing to say.
  if (channel_->WaitForConnected(now + kPollInterval)) return;
  WaitingLine line;
  line.Show(v1::POOL_STATE_UNSPECIFIED, NobodyAt(options_));
  channel_->WaitForConnected(After(now, Seconds(*options_.wait)));
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
  std::string text = info.state() == v1::POOL_STATE_LOADING ? "loading" : "starting the workers";
  const char* separator = ": ";
  for (const v1::RankInfo& rank : info.ranks()) {
    if (rank.bytes_total() == 0) continue;
    absl::StrAppendFormat(
        &text, "%srank %u %3.0f%% of %.2f GB", separator, rank.rank(),
        100.0 * static_cast<double>(rank.bytes_loaded()) / static_cast<double>(rank.bytes_total()),
        static_cast<double>(rank.bytes_total()) * 1e-9);
    separator = " · ";
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
