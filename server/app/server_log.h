// The server's log, on standard error.
#ifndef LOCKSTEP_SERVER_APP_SERVER_LOG_H_
#define LOCKSTEP_SERVER_APP_SERVER_LOG_H_

#include <string>

#include "absl/time/time.h"

namespace lockstep::server {

// `level` as in --log-level. A thread of its own writes the log, and the oldest lines give way when
// nobody reads it fast enough: whoever collects the log cannot hold up an answer.
void SetUpLog(const std::string& level);

// Writes what is left. False if nobody has read it after `patience`: the thread that writes hangs
// then, and only _exit ends the process. Nothing may be logged any more.
bool EndLog(absl::Duration patience);

// Whether a write to this file descriptor would not block; waits until it is so for `patience`.
// Async-signal-safe.
bool TakesOutput(int fd, absl::Duration patience);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_APP_SERVER_LOG_H_
