// The worker's end of the control link: one stream for life.
#ifndef LOCKSTEP_WORKER_LINK_CONTROL_LINK_H_
#define LOCKSTEP_WORKER_LINK_CONTROL_LINK_H_

#include <grpcpp/support/byte_buffer.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "lockstep/worker/v1/control_link.pb.h"

namespace lockstep::worker {

class ControlLink {
 public:
  virtual ~ControlLink() = default;

  // Tries until the frontend answers. UNAVAILABLE names the address once `timeout` has passed.
  static absl::StatusOr<std::unique_ptr<ControlLink>> Dial(const std::string& address,
                                                           absl::Duration timeout);

  // From one thread at a time. False: the link has ended.
  virtual bool Read(v1::FrontendMessage& message) = 0;
  // A WorkerMessage, encoded. From any thread; waits while the frontend does not take it. False:
  // the link has ended.
  virtual bool Write(const grpc::ByteBuffer& message) = 0;
  bool Write(const v1::WorkerMessage& message);
  // Nothing more will be written; the frontend has seen all before it sees this end. From any
  // thread.
  virtual void WritesDone() = 0;
  // Ends the link now, both directions. From any thread, any number of times.
  virtual void Cancel() = 0;
  // How the frontend ended the link. Once, after Read has returned false.
  virtual absl::Status Finish() = 0;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_LINK_CONTROL_LINK_H_
