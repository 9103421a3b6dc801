// Compiled guides, made off the threads that answers need.
#ifndef LOCKSTEP_SERVER_RPC_GUIDE_LIBRARY_H_
#define LOCKSTEP_SERVER_RPC_GUIDE_LIBRARY_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "process/monotonic_time.h"
#include "server/sync/executor.h"
#include "server/sync/mutex.h"
#include "server/text/guide.h"
#include "server/text/text_model.h"

namespace lockstep::server {

// Guides that were used lately are kept, and the refusals of those that cannot be compiled. A guide
// that takes long to compile delays those that wait for one of the library's threads, and nobody
// else; of those the shortest text is next, so that a few long ones do not keep back all others.
// What has waited for kPatience goes before them, the oldest first, on one thread at a time: the
// short ones neither overtake it for ever, nor wait for more than one such. Thread-safe.
class GuideLibrary {
 public:
  using Result = absl::StatusOr<std::shared_ptr<const Guide>>;
  using Done = std::function<void(Result)>;
  // Asked when the guide's turn comes, on a thread of the library, or when another one finds too
  // many waiting. May be asked several times, and must not call the library.
  using IsWanted = std::function<bool()>;

  static constexpr absl::Duration kPatience = absl::Seconds(1);

  // Borrows `text`. Prepares the vocabulary in the background. `clock` may be called by any thread.
  GuideLibrary(const TextModel& text, int32_t vocab_size, std::vector<int32_t> end_tokens,
               std::function<absl::Time()> clock = MonotonicNow);
  // What waits is given up, what is being compiled is waited for.
  ~GuideLibrary();

  // `done` is called once: at once where the guide is kept or too many wait, else from a thread of
  // the library, or from that of a later call where it is not wanted any more. INVALID_ARGUMENT
  // from the compiler; RESOURCE_EXHAUSTED where too many wait; CANCELLED where it is not wanted any
  // more; UNAVAILABLE after the library's end.
  void Get(GuideSpec spec, IsWanted is_wanted, Done done);

 private:
  struct Kept {
    Result result;
    std::list<GuideSpec>::iterator use;
  };

  struct Waiting {
    absl::Time since;
    GuideSpec spec;
    IsWanted is_wanted;
    Done done;
  };

  // By the size of their text.
  using WaitingBySize = std::multimap<std::size_t, Waiting>;

  void CompileNext();
  // The oldest of those that are out of patience; end() if there is none.
  WaitingBySize::iterator FindImpatient() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Those that are not wanted any more.
  std::vector<Waiting> TakeUnwanted() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Result Compile(const GuideSpec& spec, const IsWanted& is_wanted);
  const absl::StatusOr<GuideCompiler>& Compiler();
  std::optional<Result> Find(const GuideSpec& spec) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Keep(const GuideSpec& spec, const Result& result);

  const TextModel& text_;
  const int32_t vocab_size_;
  const std::vector<int32_t> end_tokens_;
  const std::function<absl::Time()> clock_;
  std::once_flag compiler_once_;
  absl::StatusOr<GuideCompiler> compiler_;  // written once
  std::atomic<bool> is_ending_ = false;

  Mutex mutex_;
  // As many tasks of the executor, or more, will each take one.
  WaitingBySize waiting_ ABSL_GUARDED_BY(mutex_);
  // One that was out of patience is being compiled.
  bool serves_impatient_ ABSL_GUARDED_BY(mutex_) = false;
  std::list<GuideSpec> uses_ ABSL_GUARDED_BY(mutex_);  // the latest first
  absl::flat_hash_map<GuideSpec, Kept> kept_ ABSL_GUARDED_BY(mutex_);
  std::size_t kept_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // of the specs' texts

  Executor executor_;  // last: its tasks use the rest
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_GUIDE_LIBRARY_H_
