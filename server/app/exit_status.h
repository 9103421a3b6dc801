#ifndef LOCKSTEP_SERVER_APP_EXIT_STATUS_H_
#define LOCKSTEP_SERVER_APP_EXIT_STATUS_H_

namespace lockstep::server {

// Exit status of lockstep-server; --help says the same.
enum class ExitStatus {
  kStopped = 0,  // SIGTERM or SIGINT
  kUnexpected = 1,
  kBadUsage = 2,    // a bad option, model directory or address
  kPoolFailed = 3,  // a worker died, failed or did not answer
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_APP_EXIT_STATUS_H_
