// A lockstep-server of one's own, with its workers, for tests with real processes.
#ifndef LOCKSTEP_TESTS_TESTING_SERVER_PROCESS_H_
#define LOCKSTEP_TESTS_TESTING_SERVER_PROCESS_H_

#include <sys/types.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace lockstep::testing {

// Not thread-safe. Every wait has a deadline; whatever is left of the process group is killed on
// destruction.
class ServerProcess {
 public:
  struct Options {
    std::string binary;                  // path of lockstep-server
    std::vector<std::string> arguments;  // beside --listen and --metrics-listen, which have port 0
    std::map<std::string, std::string> variables;
    // False for a program without these two options, such as lockstep-worker.
    bool takes_ports = true;
    // What fits the pipe that its output goes into; 0 for the system's default.
    int pipe_bytes = 0;
  };

  // Starts the program and waits for nothing, and reads nothing. For what is to fail: see
  // WaitForExit and output().
  static absl::StatusOr<std::unique_ptr<ServerProcess>> Spawn(const Options& options);
  // Also waits for the line on standard output that says where it listens; UNAVAILABLE with what
  // the server said where it ends before, or the deadline passes.
  static absl::StatusOr<std::unique_ptr<ServerProcess>> Start(
      const Options& options, std::chrono::seconds patience = std::chrono::seconds(60));
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  pid_t pid() const { return pid_; }
  const std::string& address() const { return address_; }
  const std::string& metrics_address() const { return metrics_address_; }

  void Signal(int signal);
  // The exit status, 128 + signal where a signal ended it; nothing if it is still there after
  // `patience`.
  std::optional<int> WaitForExit(std::chrono::milliseconds patience);
  // Waits for the line that says where it listens; address() and metrics_address() are known from
  // then on.
  bool WaitUntilListening(std::chrono::milliseconds patience);
  // Waits until what it printed on either output contains `text`.
  bool WaitForOutput(const std::string& text, std::chrono::milliseconds patience);
  // All that it has printed so far.
  const std::string& output();

  // The pids of its workers, by their --rank, as far as they have started.
  std::vector<pid_t> Workers() const;

 private:
  ServerProcess(pid_t pid, int exit_fd, int output_fd)
      : pid_(pid), exit_fd_(exit_fd), output_fd_(output_fd) {}
  bool ReadAvailable();

  const pid_t pid_;
  const int exit_fd_;
  int output_fd_;
  std::optional<int> exit_status_;
  std::string output_;
  std::string address_;
  std::string metrics_address_;
};

// Waits for a process that need not be a child to be gone.
bool WaitUntilGone(pid_t pid, std::chrono::milliseconds patience);

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_SERVER_PROCESS_H_
