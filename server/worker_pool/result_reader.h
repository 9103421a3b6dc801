// The frontend's side of the file in which a worker of its own leaves large results.
#ifndef LOCKSTEP_SERVER_WORKER_POOL_RESULT_READER_H_
#define LOCKSTEP_SERVER_WORKER_POOL_RESULT_READER_H_

#include <cstdint>
#include <map>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "lockstep/worker/v1/control_link.pb.h"
#include "server/net/file_descriptor.h"
#include "server/sync/mutex.h"
#include "server/worker_pool/step_result.h"

namespace lockstep::server {

// Thread-safe. What was opened may outlive the reader, and the worker too.
class ResultReader {
 public:
  // With a new file, for one worker. UNAVAILABLE where the system has no such files.
  static absl::StatusOr<std::unique_ptr<ResultReader>> Make();

  // For the worker to inherit.
  int fd() const { return file_.get(); }

  // What the worker says it has left. When the last copy of it has gone, the worker is told that
  // this part has been read. INTERNAL says what is wrong with the place.
  absl::StatusOr<LogitShard> Open(const worker::v1::SharedColumns& columns);

 private:
  class Mapping;

  ResultReader(FileDescriptor file, std::shared_ptr<Mapping> header)
      : file_(std::move(file)), header_(std::move(header)) {}

  // Maps a block that is not mapped; the parts of one share the mapping.
  absl::StatusOr<std::shared_ptr<Mapping>> MapBlock(const worker::v1::SharedColumns& columns);

  const FileDescriptor file_;
  const std::shared_ptr<Mapping> header_;
  Mutex mutex_;
  std::map<uint32_t, std::weak_ptr<Mapping>> blocks_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_WORKER_POOL_RESULT_READER_H_
