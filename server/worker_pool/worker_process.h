// One worker process that this process has started.
#ifndef LOCKSTEP_SERVER_WORKER_POOL_WORKER_PROCESS_H_
#define LOCKSTEP_SERVER_WORKER_POOL_WORKER_PROCESS_H_

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/net/file_descriptor.h"

namespace lockstep::server {

struct Pipe {
  FileDescriptor read_end;
  FileDescriptor write_end;
};

// Both ends close on exec and lie above the numbers that a child's own descriptors get.
absl::StatusOr<Pipe> MakePipe();

struct WorkerCommand {
  std::filesystem::path binary;
  std::vector<std::string> arguments;
  // Added to this process's environment.
  std::map<std::string, std::string> variables;
  // The cores that it may run on; empty: those of this process.
  std::vector<int> cores;
  // Descriptors that it inherits, none below 10; the variable named tells it the number under which
  // it has each.
  struct Inherited {
    int fd = -1;
    std::string variable;
  };
  std::vector<Inherited> inherited;
};

// Not thread-safe.
class WorkerProcess {
 public:
  // The worker leads a process group of its own, so that a terminal's Ctrl-C reaches this process
  // alone, and inherits nothing but the descriptors above. NOT_FOUND, FAILED_PRECONDITION name the
  // program.
  static absl::StatusOr<std::unique_ptr<WorkerProcess>> Spawn(const WorkerCommand& command);

  // Kills what is still running, and reaps it.
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  pid_t pid() const { return pid_; }
  // Readable once the process has ended; -1 where the kernel has no such thing: then Reap must be
  // tried now and then.
  int exit_fd() const { return exit_fd_.get(); }
  // Both standard output and standard error, not blocking.
  int output_fd() const { return output_.get(); }
  void CloseOutput() { output_.Close(); }

  bool has_ended() const { return end_.has_value(); }
  // How it ended: "exited with status 1", "was killed by signal 9 (Killed)". Nothing while it runs.
  const std::optional<std::string>& Reap();
  void Signal(int signal);

 private:
  WorkerProcess(pid_t pid, FileDescriptor exit_fd, FileDescriptor output)
      : pid_(pid), exit_fd_(std::move(exit_fd)), output_(std::move(output)) {}

  const pid_t pid_;
  FileDescriptor exit_fd_;
  FileDescriptor output_;
  std::optional<std::string> end_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_WORKER_POOL_WORKER_PROCESS_H_
