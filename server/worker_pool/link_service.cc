#include "server/worker_pool/link_service.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/proto_buffer_writer.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "lockstep/worker/v1/control_link.grpc.pb.h"
#include "process/monotonic_time.h"
#include "server/net/file_descriptor.h"
#include "server/sync/mutex.h"
#include "server/worker_pool/link_stream.h"

namespace lockstep::server {
namespace {

using RawControlLink =
    worker::v1::ControlLink::WithRawCallbackMethod_Attach<worker::v1::ControlLink::Service>;

constexpr int kKeepaliveMs = 5'000;
constexpr int kKeepaliveTimeoutMs = 10'000;

// gRPC takes such a socket away from whoever has it.
bool IsServedUnixSocket(absl::string_view address) {
  if (!absl::ConsumePrefix(&address, "unix:")) return false;
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (address.size() >= sizeof(to.sun_path)) return false;
  address.copy(to.sun_path, address.size());
  const FileDescriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return fd.is_open() && connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0;
}

grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

grpc::ByteBuffer Serialize(const worker::v1::FrontendMessage& message) {
  grpc::Slice slice(message.ByteSizeLong());
  message.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(slice.begin()));
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace

class LinkService::Impl final : public RawControlLink {
 public:
  explicit Impl(LinkListener& listener) : listener_(listener) {}

  absl::Status Listen(const std::string& address);
  const std::string& address() const { return address_; }
  void Send(const std::vector<LinkId>& links, const worker::v1::FrontendMessage& message);
  void Close(LinkId link, const absl::Status& status);
  void CloseAll(const absl::Status& status);
  bool WaitUntilNoLinks(absl::Time deadline);
  void Shutdown();

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Attach(
      grpc::CallbackServerContext* context) override;

 private:
  void Forget(LinkId link);

  LinkListener& listener_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;

  Mutex mutex_;
  CondVar changed_;
  LinkId last_link_ ABSL_GUARDED_BY(mutex_) = 0;
  // gRPC may use a stream until Forget; whoever calls one holds the lock or knows that it is not
  // done.
  std::map<LinkId, std::unique_ptr<LinkStream>> streams_ ABSL_GUARDED_BY(mutex_);
};

absl::Status LinkService::Impl::Listen(const std::string& address) {
  if (IsServedUnixSocket(address)) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen for workers on ", address,
                     ": another process does; choose another with --worker-listen"));
  }
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  // A port is either ours alone or not ours.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Logits and long prompts are larger than gRPC's default of 4 MiB.
  builder.SetMaxReceiveMessageSize(-1);
  builder.SetMaxSendMessageSize(-1);
  // A machine that vanished without a word is noticed.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port == 0) {
    return absl::UnavailableError(absl::StrCat(
        "cannot listen for workers on ", address,
        ": the address is in use or not this machine's; choose another with --worker-listen"));
  }
  address_ = absl::StartsWith(address, "unix:")
                 ? address
                 : absl::StrCat(address.substr(0, address.rfind(':') + 1), port);
  return absl::OkStatus();
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* LinkService::Impl::Attach(
    grpc::CallbackServerContext* context) {
  LinkId link = 0;
  {
    MutexLock lock(mutex_);
    link = ++last_link_;
  }
  auto owned = std::make_unique<LinkStream>(
      context, LinkStream::Callbacks{.on_message =
                                         [this, link](worker::v1::WorkerMessage message) {
                                           listener_.OnLinkMessage(link, std::move(message));
                                         },
                                     .on_closed = [this, link] { listener_.OnLinkClosed(link); },
                                     .on_done = [this, link] { Forget(link); }});
  LinkStream* const stream = owned.get();
  {
    MutexLock lock(mutex_);
    streams_.emplace(link, std::move(owned));
  }
  listener_.OnLinkAttached(link);
  stream->Start();
  return stream;
}

void LinkService::Impl::Forget(LinkId link) {
  std::unique_ptr<LinkStream> stream;
  MutexLock lock(mutex_);
  const auto it = streams_.find(link);
  stream = std::move(it->second);
  streams_.erase(it);
  changed_.NotifyAll();
}

void LinkService::Impl::Send(const std::vector<LinkId>& links,
                             const worker::v1::FrontendMessage& message) {
  const grpc::ByteBuffer bytes = Serialize(message);
  MutexLock lock(mutex_);
  for (LinkId link : links) {
    const auto it = streams_.find(link);
    if (it != streams_.end()) it->second->Send(bytes);
  }
}

void LinkService::Impl::Close(LinkId link, const absl::Status& status) {
  MutexLock lock(mutex_);
  const auto it = streams_.find(link);
  if (it != streams_.end()) it->second->Close(ToGrpc(status));
}

void LinkService::Impl::CloseAll(const absl::Status& status) {
  MutexLock lock(mutex_);
  for (auto& [link, stream] : streams_) stream->Close(ToGrpc(status));
}

bool LinkService::Impl::WaitUntilNoLinks(absl::Time deadline) {
  MutexLock lock(mutex_);
  while (!streams_.empty()) {
    const absl::Duration left = deadline - MonotonicNow();
    if (left <= absl::ZeroDuration()) return false;
    changed_.WaitFor(mutex_, left);
  }
  return true;
}

void LinkService::Impl::Shutdown() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

LinkService::LinkService(LinkListener& listener) : impl_(std::make_unique<Impl>(listener)) {}
LinkService::~LinkService() { impl_->Shutdown(); }
absl::Status LinkService::Listen(const std::string& address) { return impl_->Listen(address); }
const std::string& LinkService::address() const { return impl_->address(); }
void LinkService::Send(const std::vector<LinkId>& links,
                       const worker::v1::FrontendMessage& message) {
  impl_->Send(links, message);
}
void LinkService::Close(LinkId link, const absl::Status& status) { impl_->Close(link, status); }
void LinkService::CloseAll(const absl::Status& status) { impl_->CloseAll(status); }
bool LinkService::WaitUntilNoLinks(absl::Time deadline) {
  return impl_->WaitUntilNoLinks(deadline);
}
void LinkService::Shutdown() { impl_->Shutdown(); }

}  // namespace lockstep::server
