// One open stream of the link service.
#ifndef LOCKSTEP_SERVER_WORKER_POOL_LINK_STREAM_H_
#define LOCKSTEP_SERVER_WORKER_POOL_LINK_STREAM_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <deque>
#include <functional>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "lockstep/worker/v1/control_link.pb.h"
#include "server/sync/handoff.h"
#include "server/sync/mutex.h"

namespace lockstep::server {

// Deletes itself through `on_done` once gRPC is through with it. Send and Close from any thread
// until then.
class LinkStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  struct Callbacks {
    std::function<void(worker::v1::WorkerMessage)> on_message;
    std::function<void()> on_closed;  // nothing more comes
    std::function<void()> on_done;    // last
  };

  LinkStream(grpc::CallbackServerContext* context, Callbacks callbacks)
      : context_(context), callbacks_(std::move(callbacks)) {}

  // Begins to read. Once, after the constructor.
  void Start() {
    handoff_.Give();
    StartRead(&incoming_);
  }

  // Queues a message; the buffer's bytes are shared, not copied. Nothing after Close.
  void Send(const grpc::ByteBuffer& message);
  // Ends the stream once the queue is written; at once where the peer does not take it.
  void Close(const grpc::Status& status);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone() override {
    handoff_.Take();
    callbacks_.on_done();
  }

 private:
  // gRPC takes Finish only after the last write.
  void FinishIfDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  grpc::CallbackServerContext* const context_;
  const Callbacks callbacks_;
  grpc::ByteBuffer incoming_;  // the read under way

  Handoff handoff_;  // before and after each of gRPC's steps
  Mutex mutex_;
  std::deque<grpc::ByteBuffer> outgoing_ ABSL_GUARDED_BY(mutex_);  // front: the write under way
  std::optional<grpc::Status> end_ ABSL_GUARDED_BY(mutex_);        // set: the stream is to end
  bool is_finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_WORKER_POOL_LINK_STREAM_H_
