// The streams that workers open: bytes and messages, no meaning.
#ifndef LOCKSTEP_SERVER_WORKER_POOL_LINK_SERVICE_H_
#define LOCKSTEP_SERVER_WORKER_POOL_LINK_SERVICE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "lockstep/worker/v1/control_link.pb.h"
#include "server/worker_pool/pool_protocol.h"

namespace lockstep::server {

// Called on gRPC's threads, for one link in order; must not block.
class LinkListener {
 public:
  virtual ~LinkListener() = default;
  virtual void OnLinkAttached(LinkId link) = 0;
  virtual void OnLinkMessage(LinkId link, worker::v1::WorkerMessage message) = 0;
  // Once, last: whichever end closed it.
  virtual void OnLinkClosed(LinkId link) = 0;
};

// Thread-safe. No call blocks but Shutdown.
class LinkService {
 public:
  // `listener` outlives Shutdown.
  explicit LinkService(LinkListener& listener);
  ~LinkService();
  LinkService(const LinkService&) = delete;
  LinkService& operator=(const LinkService&) = delete;

  // `address`: host:port, port 0 for any, or unix:/path. UNAVAILABLE if it cannot be had.
  absl::Status Listen(const std::string& address);
  // Where workers dial, with the port that was bound.
  const std::string& address() const;

  // Serialized once for all; links that are gone are passed over.
  void Send(const std::vector<LinkId>& links, const worker::v1::FrontendMessage& message);
  // Ends a link after what was sent; the worker sees the status.
  void Close(LinkId link, const absl::Status& status);
  void CloseAll(const absl::Status& status);

  // True once no link is open; false at the deadline (MonotonicNow's).
  bool WaitUntilNoLinks(absl::Time deadline);

  // Cuts what is open; the listener hears nothing more.
  void Shutdown();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_WORKER_POOL_LINK_SERVICE_H_
