// The ids of the requests that are alive.
#ifndef LOCKSTEP_SERVER_ENGINE_LIVE_IDS_H_
#define LOCKSTEP_SERVER_ENGINE_LIVE_IDS_H_

#include <algorithm>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/engine/request.h"
#include "server/sync/mutex.h"

namespace lockstep::server {

// Which requests have which id; several may share one if they came together. Thread-safe.
class LiveIds {
 public:
  // False if a request with this id, and a handle below `batch_begin`, is alive.
  bool Insert(const std::string& id, RequestHandle handle, RequestHandle batch_begin) {
    MutexLock lock(mutex_);
    std::vector<RequestHandle>& handles = handles_[id];
    if (!handles.empty() && handles.front() < batch_begin) return false;
    handles.push_back(handle);
    return true;
  }

  void Erase(const std::string& id, RequestHandle handle) {
    MutexLock lock(mutex_);
    const auto it = handles_.find(id);
    if (it == handles_.end()) return;
    it->second.erase(std::remove(it->second.begin(), it->second.end(), handle), it->second.end());
    if (it->second.empty()) handles_.erase(it);
  }

  std::vector<RequestHandle> Find(const std::string& id) const {
    MutexLock lock(mutex_);
    const auto it = handles_.find(id);
    return it == handles_.end() ? std::vector<RequestHandle>() : it->second;
  }

 private:
  mutable Mutex mutex_;
  // Never an empty list.
  absl::flat_hash_map<std::string, std::vector<RequestHandle>> handles_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ENGINE_LIVE_IDS_H_
