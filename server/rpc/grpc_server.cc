#include "server/rpc/grpc_server.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/grpc.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "grpc/health/v1/health.pb.h"
#include "process/processor_count.h"
#include "server/admission/admission.h"
#include "server/net/connection_acceptor.h"
#include "server/net/tcp_listener.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/inference_service.h"
#include "server/rpc/model_info.h"
#include "server/rpc/service_context.h"
#include "server/sync/executor.h"
#include "server/sync/mutex.h"

namespace lockstep::server {
namespace {

constexpr char kInferenceService[] = "lockstep.v1.Inference";
constexpr int kMaxReceiveBytes = 64 << 20;
constexpr int kKeepaliveTimeMs = 30'000;
constexpr int kKeepaliveTimeoutMs = 20'000;
constexpr int kMinPingIntervalMs = 5'000;

int NumExecutorThreads() { return std::clamp(NumUsableProcessors() / 2, 2, 8); }

// Requests that are alive, those being tokenized included; the engine's own limits are below.
std::size_t MaxAlive(const ServerOptions& options) {
  return static_cast<std::size_t>(options.max_num_seqs) +
         2 * static_cast<std::size_t>(options.max_queued_requests) + 64;
}

absl::string_view HostOf(absl::string_view host_port) {
  return host_port.substr(0, host_port.rfind(':'));
}

void SetChannelArguments(const ServerOptions& options, grpc::ServerBuilder& builder) {
  // Half-dead connections are found, and no client is thrown out for looking after its own.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kMinPingIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, static_cast<int>(MaxAlive(options)));
  builder.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  // Forward's answers; admission limits them.
  builder.SetMaxSendMessageSize(-1);
}

// What gRPC does with the connections that it takes itself.
void HandOver(FileDescriptor connection, grpc::experimental::ExternalConnectionAcceptor& grpc) {
  // One that its client has reset already: gRPC would write to standard error about it.
  sockaddr_storage peer{};
  socklen_t size = sizeof(peer);
  if (getpeername(connection.get(), reinterpret_cast<sockaddr*>(&peer), &size) != 0) return;
  const unsigned timeout_ms = kKeepaliveTimeoutMs;
  setsockopt(connection.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
  parameters.fd = connection.Release();
  grpc.HandleNewConnection(&parameters);
}

}  // namespace

struct GrpcServer::Impl {
  Impl(const ServerOptions& options, const Parts& parts, const std::string& dtype)
      : engine(parts.engine),
        admission(parts.model, parts.text, MaxAlive(options)),
        intake(std::make_unique<Intake>(NumExecutorThreads())),
        delivery(std::make_unique<Executor>(NumExecutorThreads())),
        guides(std::make_unique<GuideLibrary>(parts.text, parts.model.vocab_size,
                                              parts.model.defaults.eos_token_ids)),
        context{parts.engine, parts.text, admission,     *intake,
                *delivery,    *guides,    parts.counter, ByteBudget(parts.max_request_bytes)},
        inference(context, Describe(options, parts, dtype)),
        admin({.engine = parts.engine,
               .admission = admission,
               .pool = parts.pool,
               .executor = *delivery,
               .request_bytes = admin_bytes,
               .model_name = parts.model.name,
               .drain = [this] { Drain(); },
               .is_draining = [this] { return context.is_draining.load(); }}) {}

  ~Impl() {
    // First the calls, then what they left, each before what it speaks to. Guides hand nothing to
    // the intake for calls that have ended.
    acceptor.reset();
    server.reset();
    intake.reset();
    guides.reset();
    delivery.reset();
  }

  static v1::GetModelInfoResponse Describe(const ServerOptions& options, const Parts& parts,
                                           const std::string& dtype) {
    v1::GetModelInfoResponse info = DescribeModel(parts.model, parts.config, parts.text, dtype);
    info.set_max_num_seqs(static_cast<uint32_t>(options.max_num_seqs));
    info.set_max_num_batched_tokens(static_cast<uint32_t>(options.max_num_batched_tokens));
    info.set_block_size(static_cast<uint32_t>(options.block_size));
    return info;
  }

  void SetHealth(bool now_serving) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    serving = now_serving;
    auto* health = server->GetHealthCheckService();
    health->SetServingStatus("", now_serving);
    health->SetServingStatus(kInferenceService, now_serving);
  }

  void Drain() {
    MutexLock lock(mutex);
    // Who watches health hears of it once.
    if (context.is_draining.exchange(true)) return;
    // Before health: who sees NOT_SERVING can rely on being refused.
    engine.Drain();
    SetHealth(false);
  }

  Engine& engine;
  Admission admission;
  std::unique_ptr<Intake> intake;
  std::unique_ptr<Executor> delivery;
  std::unique_ptr<GuideLibrary> guides;
  ServiceContext context;
  InferenceService inference;
  // A budget of its own: what others send holds up no Abort.
  ByteBudget admin_bytes{kMaxReceiveBytes};
  AdminService admin;
  std::string address;
  uint16_t port = 0;

  Mutex mutex;
  bool serving ABSL_GUARDED_BY(mutex) = false;
  std::atomic<bool> shut_down{false};
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> connections;
  std::unique_ptr<ConnectionAcceptor> acceptor;
};

GrpcServer::GrpcServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const ServerOptions& options,
                                                              const Parts& parts,
                                                              const std::string& dtype) {
  // What it would print about requests that do not parse is in their status.
  google::protobuf::SetLogHandler(nullptr);
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  // Makes the file known, for reflection: the library answers health without it.
  ::grpc::health::v1::HealthCheckRequest::descriptor();
  auto listener = Listen(options.listen);
  if (!listener.ok()) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", options.listen, ": ", listener.status().message(),
                     "; is the port in use, or the host not this machine's? Choose another "
                     "with --listen (port 0: any free one)"));
  }
  auto impl = std::make_unique<Impl>(options, parts, dtype);
  impl->address = absl::StrCat(HostOf(options.listen), ":", listener->port);
  impl->port = static_cast<uint16_t>(listener->port);
  grpc::ServerBuilder builder;
  impl->connections = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      grpc::InsecureServerCredentials());
  SetChannelArguments(options, builder);
  builder.RegisterService(&impl->inference);
  builder.RegisterService(&impl->admin);
  impl->server = builder.BuildAndStart();
  if (impl->server == nullptr) return absl::UnavailableError("gRPC cannot be started");
  {
    MutexLock lock(impl->mutex);
    impl->SetHealth(false);
  }
  auto acceptor = ConnectionAcceptor::Start(
      *std::move(listener), NumReservedFiles(options.tensor_parallel_size),
      [connections = impl->connections.get()](FileDescriptor connection) {
        HandOver(std::move(connection), *connections);
      });
  if (!acceptor.ok()) return acceptor.status();
  impl->acceptor = *std::move(acceptor);
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(impl)));
}

GrpcServer::~GrpcServer() {
  if (!impl_->shut_down) Shutdown(absl::Now());
}

uint64_t GrpcServer::NumReservedFiles(int num_ranks) {
  // What each needs of this process, and some for the log, /metrics and the like.
  return 8 + 4 * static_cast<uint64_t>(num_ranks);
}

const std::string& GrpcServer::address() const { return impl_->address; }

uint16_t GrpcServer::port() const { return impl_->port; }

void GrpcServer::SetServing(bool serving) {
  MutexLock lock(impl_->mutex);
  if (!impl_->context.is_draining) impl_->SetHealth(serving);
}

bool GrpcServer::serving() const {
  MutexLock lock(impl_->mutex);
  return impl_->serving;
}

int64_t GrpcServer::num_open_calls() const { return impl_->context.num_open_calls; }

void GrpcServer::Drain() { impl_->Drain(); }

void GrpcServer::Shutdown(absl::Time deadline) {
  impl_->shut_down = true;
  impl_->Drain();
  impl_->acceptor.reset();
  impl_->server->Shutdown(absl::ToChronoTime(deadline));
  impl_->server->Wait();
}

}  // namespace lockstep::server
