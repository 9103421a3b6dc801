#ifndef LOCKSTEP_SERVER_APP_OPEN_FILES_H_
#define LOCKSTEP_SERVER_APP_OPEN_FILES_H_

#include <cstdint>

#include "absl/status/status.h"

namespace lockstep::server {

// What a server with that many ranks needs to start and to take a few connections.
uint64_t MinOpenFiles(int num_ranks);

// Raises the process's limit of open files, which connections are too, from what it is to what it
// may be. RESOURCE_EXHAUSTED where that is less than MinOpenFiles: gRPC would end the process
// without a word, or ranks would dial in vain.
absl::Status RaiseOpenFilesLimit(int num_ranks);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_APP_OPEN_FILES_H_
