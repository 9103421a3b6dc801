#include "tests/testing/server_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace lockstep::testing {
namespace {

using Clock = std::chrono::steady_clock;

int MillisecondsUntil(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  return std::max(0, static_cast<int>(left.count()));
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// This process's environment without Lockstep's variables, which would change what is tested.
std::vector<std::string> CleanEnvironment(const std::map<std::string, std::string>& variables) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!text.starts_with("LOCKSTEP_")) result.push_back(text);
  }
  for (const auto& [name, value] : variables) result.push_back(absl::StrCat(name, "=", value));
  return result;
}

pid_t SpawnInOwnGroup(std::vector<std::string> arguments, std::vector<std::string> environment,
                      int output_fd) {
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, output_fd, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, output_fd, STDERR_FILENO);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, arguments[0].c_str(), &files, &attributes,
                                Pointers(arguments).data(), Pointers(environment).data());
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  return error == 0 ? pid : -1;
}

// "pid" and "parent" of /proc/<pid>/stat; the name between them may hold anything.
pid_t ParentOf(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::string line;
  std::getline(file, line);
  const size_t after_name = line.rfind(')');
  if (after_name == std::string::npos) return -1;
  const std::vector<std::string> fields = absl::StrSplit(line.substr(after_name + 2), ' ');
  int parent = -1;
  return fields.size() > 1 && absl::SimpleAtoi(fields[1], &parent) ? parent : -1;
}

// What a worker's command line says; -1 where it says nothing.
int RankOf(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/cmdline"));
  const std::string line{std::istreambuf_iterator<char>(file), {}};
  const std::vector<std::string> arguments = absl::StrSplit(line, '\0');
  const auto option = std::find(arguments.begin(), arguments.end(), "--rank");
  int rank = -1;
  if (option == arguments.end() || option + 1 == arguments.end()) return rank;
  return absl::SimpleAtoi(*(option + 1), &rank) ? rank : -1;
}

std::string Between(const std::string& text, const std::string& begin, const std::string& ends) {
  const size_t start = text.find(begin);
  if (start == std::string::npos) return "";
  const size_t from = start + begin.size();
  return text.substr(from, text.find_first_of(ends, from) - from);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServerProcess>> ServerProcess::Spawn(const Options& options) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return absl::InternalError("no pipe");
  std::vector<std::string> arguments = options.arguments;
  arguments.insert(arguments.begin(), options.binary);
  for (const std::string option : {"--listen", "--metrics-listen"}) {
    if (options.takes_ports &&
        std::find(arguments.begin(), arguments.end(), option) == arguments.end()) {
      arguments.insert(arguments.end(), {option, "127.0.0.1:0"});
    }
  }
  const pid_t pid = SpawnInOwnGroup(arguments, CleanEnvironment(options.variables), fds[1]);
  close(fds[1]);
  fcntl(fds[0], F_SETFL, O_NONBLOCK);
  if (options.pipe_bytes > 0) fcntl(fds[0], F_SETPIPE_SZ, options.pipe_bytes);
  if (pid < 0) {
    close(fds[0]);
    return absl::NotFoundError(absl::StrCat("cannot start ", options.binary));
  }
  const int exit_fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  return std::unique_ptr<ServerProcess>(new ServerProcess(pid, exit_fd, fds[0]));
}

absl::StatusOr<std::unique_ptr<ServerProcess>> ServerProcess::Start(const Options& options,
                                                                    std::chrono::seconds patience) {
  auto server = Spawn(options);
  if (!server.ok()) return server;
  if (!(*server)->WaitUntilListening(patience)) {
    return absl::UnavailableError(
        absl::StrCat("the server did not come up: ", (*server)->output()));
  }
  return server;
}

bool ServerProcess::WaitUntilListening(std::chrono::milliseconds patience) {
  const std::string line = "lockstep-server listening on ";
  const auto deadline = Clock::now() + patience;
  if (!WaitForOutput(line, patience)) return false;
  while (output_.find('\n', output_.find(line)) == std::string::npos) {
    pollfd output = {output_fd_, POLLIN, 0};
    if (output_fd_ < 0 || poll(&output, 1, MillisecondsUntil(deadline)) <= 0) return false;
    ReadAvailable();
  }
  address_ = Between(output_, line, ",\n");
  metrics_address_ = Between(output_, ", metrics on ", "\n");
  return true;
}

ServerProcess::~ServerProcess() {
  const std::vector<pid_t> workers = Workers();
  if (!exit_status_.has_value()) {
    kill(-pid_, SIGKILL);
    WaitForExit(std::chrono::seconds(10));
  }
  for (pid_t worker : workers) WaitUntilGone(worker, std::chrono::seconds(10));
  // What a sanitizer said in there fails the test: see lockstep_test.
  if (absl::StrContains(output(), "Sanitizer: ")) std::fputs(output_.c_str(), stderr);
  if (exit_fd_ >= 0) close(exit_fd_);
  if (output_fd_ >= 0) close(output_fd_);
}

void ServerProcess::Signal(int signal) { kill(pid_, signal); }

std::optional<int> ServerProcess::WaitForExit(std::chrono::milliseconds patience) {
  const auto deadline = Clock::now() + patience;
  while (!exit_status_.has_value()) {
    pollfd fds[] = {{exit_fd_, POLLIN, 0}, {output_fd_, POLLIN, 0}};
    poll(fds, 2, MillisecondsUntil(deadline));
    ReadAvailable();
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      exit_status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      ReadAvailable();
    } else if (Clock::now() >= deadline) {
      break;
    }
  }
  return exit_status_;
}

bool ServerProcess::WaitForOutput(const std::string& text, std::chrono::milliseconds patience) {
  const auto deadline = Clock::now() + patience;
  while (output_.find(text) == std::string::npos) {
    pollfd output = {output_fd_, POLLIN, 0};
    if (output_fd_ < 0 || poll(&output, 1, MillisecondsUntil(deadline)) <= 0) return false;
    ReadAvailable();
  }
  return true;
}

const std::string& ServerProcess::output() {
  ReadAvailable();
  return output_;
}

bool ServerProcess::ReadAvailable() {
  char buffer[4096];
  while (output_fd_ >= 0) {
    const ssize_t size = read(output_fd_, buffer, sizeof(buffer));
    if (size > 0) {
      output_.append(buffer, static_cast<size_t>(size));
    } else if (size == 0) {
      close(std::exchange(output_fd_, -1));
    } else if (errno != EINTR) {
      return true;
    }
  }
  return false;
}

std::vector<pid_t> ServerProcess::Workers() const {
  std::map<int, pid_t> workers;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    pid_t pid = 0;
    if (absl::SimpleAtoi(entry.path().filename().string(), &pid) && ParentOf(pid) == pid_) {
      workers.emplace(RankOf(pid), pid);
    }
  }
  std::vector<pid_t> pids;
  for (const auto& [rank, pid] : workers) pids.push_back(pid);
  return pids;
}

bool WaitUntilGone(pid_t pid, std::chrono::milliseconds patience) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) return true;
  pollfd gone = {fd, POLLIN, 0};
  const bool is_gone = poll(&gone, 1, static_cast<int>(patience.count())) == 1;
  close(fd);
  return is_gone;
}

}  // namespace lockstep::testing
