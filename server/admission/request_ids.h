// The names of the requests that are alive.
#ifndef LOCKSTEP_SERVER_ADMISSION_REQUEST_IDS_H_
#define LOCKSTEP_SERVER_ADMISSION_REQUEST_IDS_H_

#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "server/admission/number_source.h"
#include "server/sync/mutex.h"

namespace lockstep::server {

class RequestIds;

// INVALID_ARGUMENT unless a client may give a request this id: up to 128 printable ASCII
// characters.
absl::Status CheckRequestId(const std::string& id);

// Holds a request id for as long as it lives. Movable; the RequestIds must outlive it.
class RequestIdLease {
 public:
  RequestIdLease() = default;
  RequestIdLease(RequestIdLease&& other) noexcept;
  RequestIdLease& operator=(RequestIdLease&& other) noexcept;
  ~RequestIdLease();

  const std::string& id() const { return id_; }
  // Whether RequestIds::Abort has named it.
  bool is_aborted() const;

 private:
  friend class RequestIds;
  RequestIdLease(RequestIds& owner, std::string id) : owner_(&owner), id_(std::move(id)) {}
  void Release();

  RequestIds* owner_ = nullptr;
  std::string id_;
};

// Thread-safe.
class RequestIds {
 public:
  explicit RequestIds(std::size_t max_alive) : max_alive_(max_alive) {}

  // Takes the client's id, or makes one. INVALID_ARGUMENT if it is malformed or taken,
  // RESOURCE_EXHAUSTED if max_alive are.
  absl::StatusOr<RequestIdLease> Take(const std::optional<std::string>& wanted,
                                      NumberSource& numbers);

  // Tells the holder of the id, which may not have given its request to the engine yet. False if
  // there is none.
  bool Abort(const std::string& id);

 private:
  friend class RequestIdLease;
  enum class Outcome { kTaken, kInUse, kFull };
  Outcome Insert(const std::string& id);
  void Erase(const std::string& id);
  bool IsAborted(const std::string& id);

  const std::size_t max_alive_;
  Mutex mutex_;
  // Those that are alive, and whether they are to end.
  absl::flat_hash_map<std::string, bool> is_aborted_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ADMISSION_REQUEST_IDS_H_
