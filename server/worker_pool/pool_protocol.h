// The frontend's side of the control link as a state machine: no threads, no clock, no sockets, no
// processes.
#ifndef LOCKSTEP_SERVER_WORKER_POOL_POOL_PROTOCOL_H_
#define LOCKSTEP_SERVER_WORKER_POOL_POOL_PROTOCOL_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "lockstep/v1/admin.pb.h"
#include "lockstep/worker/v1/control_link.pb.h"
#include "server/worker_pool/pool_options.h"
#include "server/worker_pool/step_ledger.h"
#include "server/worker_pool/step_result.h"
#include "server/worker_pool/worker_pool.h"

namespace lockstep::server {

// A stream that some worker opened; it may turn out to be no rank of ours.
using LinkId = uint64_t;

// What the protocol has others do. None may call back into the protocol.
class PoolActions {
 public:
  virtual ~PoolActions() = default;
  virtual void Send(const std::vector<LinkId>& links,
                    const worker::v1::FrontendMessage& message) = 0;
  // Ends the link of what is no rank of this pool; the other end sees the status.
  virtual void Refuse(LinkId link, const absl::Status& status) = 0;
  virtual void AllAttached() = 0;  // every rank has said hello: nobody needs to dial any more
  virtual void Ready(const PoolCapacity& capacity) = 0;
  // Logits that a rank left in the file that it shares with this process. An error says what is
  // wrong with the place.
  virtual absl::StatusOr<LogitShard> OpenColumns(uint32_t rank,
                                                 const worker::v1::SharedColumns& columns) = 0;
  virtual void Complete(StepResult result) = 0;
  // Once. Every link and every worker is to be ended.
  virtual void Failed(const absl::Status& status) = 0;
};

// Not thread-safe. The first failure wins and is final: later events are ignored.
class PoolProtocol {
 public:
  // Whichever of a worker's exit, its broken link and its last message is seen first, the others
  // are waited for this long, so that the failure names the cause.
  static constexpr absl::Duration kCauseWindow = absl::Milliseconds(600);
  // A link that has not said hello after this long is no worker's.
  static constexpr absl::Duration kHelloTimeout = absl::Seconds(10);

  // `options.configure` and `options.token` are complete. `actions` outlives this.
  PoolProtocol(const PoolOptions& options, std::string version, PoolActions& actions,
               absl::Time now);

  void OnSpawned(uint32_t rank, int pid);
  void OnAttached(LinkId link, absl::Time now);
  void OnMessage(LinkId link, worker::v1::WorkerMessage message, absl::Time now);
  void OnClosed(LinkId link, absl::Time now);
  // A process of the pool's own has ended: "was killed by signal 9 (Killed)".
  void OnExited(uint32_t rank, const std::string& how, absl::Time now);
  // To be called at NextDeadline() at the latest.
  void OnTime(absl::Time now);
  absl::Time NextDeadline() const;

  void Submit(const worker::v1::StepPlan& plan, absl::Time now);
  // To rank 0; the step has been submitted.
  void SubmitMasks(const worker::v1::TokenMasks& masks);
  void Fail(const absl::Status& status);
  // Asks the workers to leave; what they do from now on is no failure.
  void Stop();

  std::vector<v1::RankInfo> Ranks(absl::Time now) const;
  v1::PoolState State() const;

 private:
  enum class Stage { kAbsent, kLoading, kLoaded, kReady };

  struct Rank {
    Stage stage = Stage::kAbsent;
    std::optional<LinkId> link;
    bool had_link = false;
    bool has_reported = false;  // a failure of its own
    uint32_t pid = 0;
    std::string host;
    absl::Time last_heard;
    worker::v1::LoadProgress progress;
    worker::v1::Loaded loaded;
    worker::v1::Ready ready;
    std::string exit;  // how its process ended
  };

  absl::Status CheckHello(const worker::v1::Hello& hello) const;
  void OnHello(LinkId link, const worker::v1::Hello& hello, absl::Time now);
  void OnLoaded(uint32_t rank, const worker::v1::Loaded& loaded);
  void OnReady(uint32_t rank, const worker::v1::Ready& ready);
  void OnFailure(uint32_t rank, const worker::v1::Failure& failure, absl::Time now);
  void OnStepResult(uint32_t rank, worker::v1::StepResult message, absl::Time now);
  void FailUnexpected(uint32_t rank, const std::string& what);
  // Fails at `deadline` unless a better explanation comes before.
  void Suspect(const absl::Status& status, absl::Time deadline);

  bool AllReached(Stage stage) const;
  bool is_over() const { return is_stopped_ || failed_; }
  std::vector<uint32_t> RanksBefore(Stage stage) const;
  std::vector<LinkId> RankLinks() const;
  std::string Describe(uint32_t rank) const;
  void CheckStartDeadline(absl::Time now);
  void CheckStepDeadline(absl::Time now);
  void DropSilentLinks(absl::Time now);

  const PoolOptions& options_;
  const std::string version_;
  PoolActions& actions_;
  const absl::Time start_deadline_;

  std::vector<Rank> ranks_;                    // [world_size]
  std::map<LinkId, absl::Time> silent_links_;  // attached, no hello yet; since when
  std::map<LinkId, uint32_t> rank_of_link_;
  StepLedger ledger_;
  uint64_t num_kv_blocks_ = 0;
  bool is_stopped_ = false;
  bool failed_ = false;
  std::optional<absl::Status> suspicion_;
  absl::Time suspicion_deadline_ = absl::InfiniteFuture();
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_WORKER_POOL_POOL_PROTOCOL_H_
