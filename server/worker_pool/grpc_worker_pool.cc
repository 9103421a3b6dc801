#include "server/worker_pool/grpc_worker_pool.h"

#include <spdlog/spdlog.h>
#include <sys/random.h>

#include <deque>
#include <functional>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "process/monotonic_time.h"
#include "process/processor_count.h"
#include "server/sync/mutex.h"
#include "server/worker_pool/link_service.h"
#include "server/worker_pool/pool_protocol.h"
#include "server/worker_pool/process_watch.h"
#include "server/worker_pool/result_reader.h"
#include "server/worker_pool/socket_directory.h"

namespace lockstep::server {
namespace {

// A worker that is told to end has this long before it is killed.
constexpr absl::Duration kKillAfter = absl::Seconds(1);

std::string RandomHex(size_t num_bytes) {
  std::string bytes(num_bytes, '\0');
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    spdlog::critical("the kernel has no random numbers");
    std::abort();
  }
  return absl::BytesToHexString(bytes);
}

PoolOptions Completed(PoolOptions options) {
  options.configure.set_communicator_id(RandomHex(8));
  if (options.token.empty() && !options.external_workers) options.token = RandomHex(16);
  return options;
}

// Short enough that a deadline which the watch was not woken for is kept within half its length.
absl::Duration LongestWait(const PoolOptions& options) {
  const absl::Duration half = std::min(options.step_timeout, options.start_timeout) / 2;
  return std::clamp(half, absl::Milliseconds(10), absl::Seconds(1));
}

}  // namespace

// Threads: callers', gRPC's (links) and the watch's (processes, deadlines). Each takes the lock,
// tells the protocol, and on its way out hands the listener what has come of it, outside the lock,
// one thread at a time.
class GrpcWorkerPool::Impl final : private PoolActions, LinkListener, ProcessWatchListener {
 public:
  explicit Impl(PoolOptions options)
      : options_(Completed(std::move(options))),
        protocol_(options_, LOCKSTEP_VERSION, *this, MonotonicNow()),
        links_(*this),
        watch_(*this, LongestWait(options_)) {}
  ~Impl() override { Shutdown(absl::Seconds(2)); }

  absl::Status Start(WorkerPoolListener& listener);
  const std::string& address() const { return links_.address(); }
  void Shutdown(absl::Duration patience);
  void Submit(const worker::v1::StepPlan& plan);
  void SubmitMasks(const worker::v1::TokenMasks& masks);
  std::vector<v1::RankInfo> Ranks() const;
  v1::PoolState State() const;

 private:
  absl::Status Listen();
  absl::StatusOr<std::vector<std::unique_ptr<WorkerProcess>>> SpawnWorkers();
  WorkerCommand CommandFor(uint32_t rank) const;

  // Runs `tell` under the lock, then Deliver.
  template <typename Tell>
  void TellProtocol(Tell tell);
  void Deliver();

  // PoolActions: called by the protocol, and so under the lock, which the analysis cannot see
  // through the interface.
  void Send(const std::vector<LinkId>& links, const worker::v1::FrontendMessage& message) override {
    links_.Send(links, message);
  }
  void Refuse(LinkId link, const absl::Status& status) override {
    spdlog::warn("refused a worker: {}", std::string(status.message()));
    links_.Close(link, status);
  }
  void AllAttached() override ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void Ready(const PoolCapacity& capacity) override ABSL_NO_THREAD_SAFETY_ANALYSIS;
  absl::StatusOr<LogitShard> OpenColumns(uint32_t rank,
                                         const worker::v1::SharedColumns& columns) override;
  void Complete(StepResult result) override ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void Failed(const absl::Status& status) override ABSL_NO_THREAD_SAFETY_ANALYSIS;

  // LinkListener: gRPC's threads.
  void OnLinkAttached(LinkId link) override {
    TellProtocol([&](PoolProtocol& protocol) { protocol.OnAttached(link, MonotonicNow()); });
  }
  void OnLinkMessage(LinkId link, worker::v1::WorkerMessage message) override {
    TellProtocol([&](PoolProtocol& protocol) {
      protocol.OnMessage(link, std::move(message), MonotonicNow());
    });
  }
  void OnLinkClosed(LinkId link) override {
    TellProtocol([&](PoolProtocol& protocol) { protocol.OnClosed(link, MonotonicNow()); });
    watch_.Wake();  // the deadline may be nearer now
  }

  // ProcessWatchListener: the watch's thread.
  void OnProcessEnded(uint32_t rank, const std::string& how) override {
    TellProtocol([&](PoolProtocol& protocol) { protocol.OnExited(rank, how, MonotonicNow()); });
  }
  absl::Time OnWatchTime() override;

  const PoolOptions options_;
  WorkerPoolListener* listener_ = nullptr;  // set before any other thread runs

  mutable Mutex mutex_;
  CondVar delivered_;
  PoolProtocol protocol_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::function<void(WorkerPoolListener&)>> events_ ABSL_GUARDED_BY(mutex_);
  bool is_delivering_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_muted_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<SocketDirectory> socket_directory_ ABSL_GUARDED_BY(mutex_);

  Pipe death_pipe_;
  // Of the workers that this process starts; null: such a one sends its results. Set before any
  // other thread runs.
  std::vector<std::unique_ptr<ResultReader>> result_readers_;
  LinkService links_;
  ProcessWatch watch_;
};

template <typename Tell>
void GrpcWorkerPool::Impl::TellProtocol(Tell tell) {
  {
    MutexLock lock(mutex_);
    tell(protocol_);
  }
  Deliver();
}

void GrpcWorkerPool::Impl::Deliver() {
  MutexLock lock(mutex_);
  if (is_delivering_) return;  // that thread takes the new events too
  is_delivering_ = true;
  while (!events_.empty() && !is_muted_) {
    const auto event = std::move(events_.front());
    events_.pop_front();
    mutex_.Unlock();
    event(*listener_);
    mutex_.Lock();
  }
  is_delivering_ = false;
  delivered_.NotifyAll();
}

absl::Status GrpcWorkerPool::Impl::Start(WorkerPoolListener& listener) {
  listener_ = &listener;
  if (absl::Status status = Listen(); !status.ok()) return status;
  auto processes = SpawnWorkers();
  if (!processes.ok()) return processes.status();
  {
    MutexLock lock(mutex_);
    for (uint32_t rank = 0; rank < processes->size(); ++rank) {
      protocol_.OnSpawned(rank, (*processes)[rank]->pid());
    }
  }
  watch_.Run(*std::move(processes));
  return absl::OkStatus();
}

absl::Status GrpcWorkerPool::Impl::Listen() {
  std::string address = options_.listen_address;
  if (address.empty()) {
    auto directory = SocketDirectory::Make();
    if (!directory.ok()) return directory.status();
    address = absl::StrCat("unix:", (*directory)->socket_path().string());
    MutexLock lock(mutex_);
    socket_directory_ = *std::move(directory);
  }
  if (absl::Status status = links_.Listen(address); !status.ok()) return status;
  if (options_.external_workers) {
    spdlog::info("waiting for {} workers on {}", options_.world_size, links_.address());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::unique_ptr<WorkerProcess>>> GrpcWorkerPool::Impl::SpawnWorkers() {
  std::vector<std::unique_ptr<WorkerProcess>> processes;
  if (options_.external_workers) return processes;
  absl::StatusOr<Pipe> pipe = MakePipe();
  if (!pipe.ok()) return pipe.status();
  death_pipe_ = *std::move(pipe);
  for (uint32_t rank = 0; rank < options_.world_size; ++rank) {
    auto reader = ResultReader::Make();
    if (!reader.ok()) spdlog::warn("{}", std::string(reader.status().message()));
    result_readers_.push_back(reader.ok() ? *std::move(reader) : nullptr);
  }
  for (uint32_t rank = 0; rank < options_.world_size; ++rank) {
    auto process = WorkerProcess::Spawn(CommandFor(rank));
    if (!process.ok()) return process.status();
    spdlog::debug("started rank {} as pid {}", rank, (*process)->pid());
    processes.push_back(*std::move(process));
  }
  return processes;
}

WorkerCommand GrpcWorkerPool::Impl::CommandFor(uint32_t rank) const {
  WorkerCommand command;
  command.binary = options_.worker_binary;
  command.arguments = options_.worker_arguments;
  for (const std::string& argument :
       {std::string("--rank"), absl::StrCat(rank), std::string("--world-size"),
        absl::StrCat(options_.world_size), std::string("--frontend"), links_.address()}) {
    command.arguments.push_back(argument);
  }
  // The ranks' place on this machine, whatever launcher this process itself may be a rank of.
  command.variables = {{"LOCKSTEP_POOL_TOKEN", options_.token},
                       {"LOCAL_RANK", absl::StrCat(rank)},
                       {"LOCAL_WORLD_SIZE", absl::StrCat(options_.world_size)}};
  command.inherited = {{death_pipe_.read_end.get(), "LOCKSTEP_DEATH_FD"}};
  if (const auto& reader = result_readers_[rank]) {
    command.inherited.push_back({reader->fd(), "LOCKSTEP_RESULT_FD"});
  }
  const size_t num_threads = options_.configure.num_threads();
  const std::vector<int> cores = AllowedProcessors();
  if (options_.pin_cores && cores.size() >= options_.world_size * num_threads) {
    const auto first = cores.begin() + static_cast<ptrdiff_t>(rank * num_threads);
    command.cores.assign(first, first + static_cast<ptrdiff_t>(num_threads));
  }
  return command;
}

void GrpcWorkerPool::Impl::AllAttached() {
  // Nobody dials any more, and what is removed now is not left behind by a server that is killed.
  socket_directory_.reset();
}

void GrpcWorkerPool::Impl::Ready(const PoolCapacity& capacity) {
  events_.push_back([capacity](WorkerPoolListener& listener) { listener.OnReady(capacity); });
}

absl::StatusOr<LogitShard> GrpcWorkerPool::Impl::OpenColumns(
    uint32_t rank, const worker::v1::SharedColumns& columns) {
  if (rank < result_readers_.size() && result_readers_[rank] != nullptr) {
    return result_readers_[rank]->Open(columns);
  }
  return absl::InternalError("logits in a file, though it was given none");
}

void GrpcWorkerPool::Impl::Complete(StepResult result) {
  events_.push_back([result = std::move(result)](WorkerPoolListener& listener) mutable {
    listener.OnStepResult(std::move(result));
  });
}

void GrpcWorkerPool::Impl::Failed(const absl::Status& status) {
  spdlog::error("the worker pool failed: {}", std::string(status.message()));
  events_.push_back([status](WorkerPoolListener& listener) { listener.OnFailed(status); });
  links_.CloseAll(status);
  const absl::Time now = MonotonicNow();
  watch_.EndAll(now, now + kKillAfter);
}

absl::Time GrpcWorkerPool::Impl::OnWatchTime() {
  TellProtocol([](PoolProtocol& protocol) { protocol.OnTime(MonotonicNow()); });
  MutexLock lock(mutex_);
  return protocol_.NextDeadline();
}

void GrpcWorkerPool::Impl::Submit(const worker::v1::StepPlan& plan) {
  TellProtocol([&](PoolProtocol& protocol) { protocol.Submit(plan, MonotonicNow()); });
}

void GrpcWorkerPool::Impl::SubmitMasks(const worker::v1::TokenMasks& masks) {
  TellProtocol([&](PoolProtocol& protocol) { protocol.SubmitMasks(masks); });
}

std::vector<v1::RankInfo> GrpcWorkerPool::Impl::Ranks() const {
  MutexLock lock(mutex_);
  return protocol_.Ranks(MonotonicNow());
}

v1::PoolState GrpcWorkerPool::Impl::State() const {
  MutexLock lock(mutex_);
  return protocol_.State();
}

void GrpcWorkerPool::Impl::Shutdown(absl::Duration patience) {
  {
    MutexLock lock(mutex_);
    if (is_muted_) return;
    protocol_.Stop();
  }
  const absl::Time now = MonotonicNow();
  watch_.EndAll(now + patience / 2, now + patience);
  watch_.WaitUntilAllEnded(now + patience + absl::Seconds(1));
  if (options_.external_workers) links_.WaitUntilNoLinks(now + patience);
  {
    MutexLock lock(mutex_);
    is_muted_ = true;
    while (is_delivering_) delivered_.WaitFor(mutex_, absl::InfiniteDuration());
    socket_directory_.reset();
  }
  links_.Shutdown();
}

GrpcWorkerPool::GrpcWorkerPool(PoolOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}
GrpcWorkerPool::~GrpcWorkerPool() = default;
absl::Status GrpcWorkerPool::Start(WorkerPoolListener& listener) { return impl_->Start(listener); }
const std::string& GrpcWorkerPool::address() const { return impl_->address(); }
void GrpcWorkerPool::Shutdown(absl::Duration patience) { impl_->Shutdown(patience); }
void GrpcWorkerPool::Submit(const worker::v1::StepPlan& plan) { impl_->Submit(plan); }
void GrpcWorkerPool::SubmitMasks(const worker::v1::TokenMasks& masks) { impl_->SubmitMasks(masks); }
std::vector<v1::RankInfo> GrpcWorkerPool::Ranks() const { return impl_->Ranks(); }
v1::PoolState GrpcWorkerPool::State() const { return impl_->State(); }

}  // namespace lockstep::server
