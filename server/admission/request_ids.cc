#include "server/admission/request_ids.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/admission/field_error.h"
#include "server/admission/limits.h"

namespace lockstep::server {
namespace {

constexpr absl::Duration kFullRetryDelay = absl::Seconds(1);

}  // namespace

absl::Status CheckRequestId(const std::string& id) {
  if (id.empty()) {
    return InvalidField("request_id", "is empty; leave it out to have the server make one");
  }
  if (id.size() > limits::kRequestIdLength) {
    return InvalidField("request_id", absl::StrCat("has ", id.size(), " characters; at most ",
                                                   limits::kRequestIdLength, " are allowed"));
  }
  auto bad = std::find_if(id.begin(), id.end(), [](char c) { return c < 0x21 || c > 0x7e; });
  if (bad != id.end()) {
    return InvalidField(
        "request_id",
        absl::StrFormat("byte 0x%02x at offset %d is not a printable ASCII character; use letters, "
                        "digits and punctuation, without spaces",
                        static_cast<unsigned char>(*bad), bad - id.begin()));
  }
  return absl::OkStatus();
}

RequestIdLease::RequestIdLease(RequestIdLease&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)), id_(std::move(other.id_)) {}

RequestIdLease& RequestIdLease::operator=(RequestIdLease&& other) noexcept {
  if (this != &other) {
    Release();
    owner_ = std::exchange(other.owner_, nullptr);
    id_ = std::move(other.id_);
  }
  return *this;
}

RequestIdLease::~RequestIdLease() { Release(); }

void RequestIdLease::Release() {
  if (owner_ != nullptr) owner_->Erase(id_);
  owner_ = nullptr;
}

absl::StatusOr<RequestIdLease> RequestIds::Take(const std::optional<std::string>& wanted,
                                                NumberSource& numbers, OnAbort on_abort) {
  if (wanted.has_value()) {
    if (auto status = CheckRequestId(*wanted); !status.ok()) return status;
  }
  const auto shared = std::make_shared<const OnAbort>(std::move(on_abort));
  std::string id;
  Outcome outcome;
  do {
    id = wanted.has_value() ? *wanted : absl::StrFormat("r-%016x", numbers.Next());
    outcome = Insert(id, shared);
  } while (outcome == Outcome::kInUse && !wanted.has_value());
  if (outcome == Outcome::kInUse) {
    return InvalidField(
        "request_id",
        absl::StrCat("\"", id, "\" is in use by a request that is still alive; choose another"));
  }
  if (outcome == Outcome::kFull) {
    return WithRetryDelay(
        absl::ResourceExhaustedError(absl::StrCat(
            "the server has ", max_alive_, " requests, as many as it takes; try again later")),
        kFullRetryDelay);
  }
  return RequestIdLease(*this, std::move(id));
}

RequestIds::Outcome RequestIds::Insert(const std::string& id,
                                       const std::shared_ptr<const OnAbort>& on_abort) {
  MutexLock lock(mutex_);
  if (alive_.size() >= max_alive_) return Outcome::kFull;
  return alive_.try_emplace(id, on_abort).second ? Outcome::kTaken : Outcome::kInUse;
}

void RequestIds::Erase(const std::string& id) {
  MutexLock lock(mutex_);
  alive_.erase(id);
}

bool RequestIds::Abort(const std::string& id) {
  std::shared_ptr<const OnAbort> on_abort;
  {
    MutexLock lock(mutex_);
    const auto it = alive_.find(id);
    if (it == alive_.end()) return false;
    on_abort = it->second;
  }
  (*on_abort)();
  return true;
}

}  // namespace lockstep::server
