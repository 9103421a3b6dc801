#ifndef LOCKSTEP_WORKER_LINK_EXIT_CODE_H_
#define LOCKSTEP_WORKER_LINK_EXIT_CODE_H_

namespace lockstep::worker {

// Exit status of lockstep-worker; --help says the same.
enum class ExitCode {
  kGoodbye = 0,  // the frontend said so, or SIGTERM or SIGINT
  kFailed = 1,   // loading or a step failed, and the frontend has been told why
  kBadUsage = 2,
  kFrontendGone = 3,  // the link broke, or the frontend's process ended
  kNotAttached = 4,   // the frontend could not be reached, or refused this worker
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_LINK_EXIT_CODE_H_
