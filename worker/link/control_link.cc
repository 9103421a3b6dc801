#include "worker/link/control_link.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "lockstep/worker/v1/control_link.grpc.pb.h"
#include "proto/wire_message.h"

namespace lockstep::worker {
namespace {

constexpr int kKeepaliveMs = 5'000;
constexpr int kKeepaliveTimeoutMs = 10'000;

grpc::ChannelArguments ChannelArguments() {
  grpc::ChannelArguments arguments;
  // Logits and long prompts are larger than gRPC's default of 4 MiB.
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  // The frontend may come up any moment; gRPC's own patience grows to two minutes.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  // What one attempt may take, until the frontend has spoken: it may be busy, or far. Where nobody
  // listens it ends at once.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 20'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // A frontend's machine that vanished without a word is noticed.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // The cluster's proxy settings are not meant for its own ranks.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

// The generated stub's call, but for what is written: bytes, where it would take messages and copy
// them.
using Stream = grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, v1::FrontendMessage>;
using grpc::internal::RpcMethod;
constexpr char kAttach[] = "/lockstep.worker.v1.ControlLink/Attach";

class GrpcControlLink final : public ControlLink {
 public:
  explicit GrpcControlLink(std::shared_ptr<grpc::Channel> channel)
      : channel_(std::move(channel)),
        stream_(Stream::Create(channel_.get(), RpcMethod(kAttach, RpcMethod::BIDI_STREAMING),
                               &context_)) {}

  bool Read(v1::FrontendMessage& message) override { return stream_->Read(&message); }
  bool Write(const grpc::ByteBuffer& message) override {
    const std::lock_guard<std::mutex> lock(write_mutex_);
    return !writes_done_ && stream_->Write(message);
  }
  void WritesDone() override {
    const std::lock_guard<std::mutex> lock(write_mutex_);
    if (!std::exchange(writes_done_, true)) stream_->WritesDone();
  }
  void Cancel() override { context_.TryCancel(); }
  absl::Status Finish() override {
    const grpc::Status status = stream_->Finish();
    return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
  }

 private:
  const std::shared_ptr<grpc::Channel> channel_;
  grpc::ClientContext context_;
  const std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, v1::FrontendMessage>> stream_;
  std::mutex write_mutex_;
  bool writes_done_ = false;  // under write_mutex_
};

}  // namespace

bool ControlLink::Write(const v1::WorkerMessage& message) {
  WireMessage encoded;
  encoded.AddFields(message);
  return Write(encoded.Take());
}

absl::StatusOr<std::unique_ptr<ControlLink>> ControlLink::Dial(const std::string& address,
                                                               absl::Duration timeout) {
  auto channel =
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), ChannelArguments());
  if (!channel->WaitForConnected(absl::ToChronoTime(absl::Now() + timeout))) {
    return absl::UnavailableError(absl::StrCat("no frontend answers on ", address, " after ",
                                               absl::FormatDuration(timeout),
                                               ": see --frontend and --dial-timeout"));
  }
  return std::make_unique<GrpcControlLink>(std::move(channel));
}

}  // namespace lockstep::worker
