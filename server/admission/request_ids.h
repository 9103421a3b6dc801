// The names of the requests that are alive, and how each is ended by its name.
#ifndef LOCKSTEP_SERVER_ADMISSION_REQUEST_IDS_H_
#define LOCKSTEP_SERVER_ADMISSION_REQUEST_IDS_H_

#include <functional>
#include <memory>
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

  using OnAbort = std::function<void()>;

  // Takes the client's id, or makes one. INVALID_ARGUMENT if it is malformed or taken,
  // RESOURCE_EXHAUSTED if max_alive are. `on_abort`: see Abort; it must not keep the lease alive,
  // and may be called a moment after the lease's end.
  absl::StatusOr<RequestIdLease> Take(const std::optional<std::string>& wanted,
                                      NumberSource& numbers, OnAbort on_abort);

  // Calls what the holder of the id gave for this, on the caller's thread. False if there is none.
  bool Abort(const std::string& id);

 private:
  friend class RequestIdLease;
  enum class Outcome { kTaken, kInUse, kFull };
  Outcome Insert(const std::string& id, const std::shared_ptr<const OnAbort>& on_abort);
  void Erase(const std::string& id);

  const std::size_t max_alive_;
  Mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<const OnAbort>> alive_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ADMISSION_REQUEST_IDS_H_
