#ifndef LOCKSTEP_SERVER_APP_OPEN_FILES_H_
#define LOCKSTEP_SERVER_APP_OPEN_FILES_H_

#include "absl/status/status.h"

namespace lockstep::server {

// Raises the process's limit of open files, which connections are too, from what it is to what it
// may be. RESOURCE_EXHAUSTED where that is less than a server needs to start: gRPC would end the
// process without a word.
absl::Status RaiseOpenFilesLimit();

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_APP_OPEN_FILES_H_
