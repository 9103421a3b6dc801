#include "server/worker_pool/worker_process.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace lockstep::server {
namespace {

constexpr int kFirstInheritedFd = 3;

absl::Status SystemError(absl::string_view what, int error) {
  return absl::FailedPreconditionError(absl::StrCat(what, ": ", strerrordesc_np(error)));
}

class SpawnAttributes {
 public:
  SpawnAttributes() {
    posix_spawnattr_init(&attributes_);
    // Until it looks at them itself, the worker leaves these to the frontend: signals often go to
    // all processes of a service.
    sigset_t blocked;
    sigset_t all;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes_, &blocked);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    posix_spawnattr_setpgroup(&attributes_, 0);
    posix_spawnattr_setflags(
        &attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  ~SpawnAttributes() { posix_spawnattr_destroy(&attributes_); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

class SpawnFiles {
 public:
  SpawnFiles(int output_fd, const std::vector<WorkerCommand::Inherited>& inherited) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions_, output_fd, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions_, output_fd, STDERR_FILENO);
    int number = kFirstInheritedFd;
    for (const WorkerCommand::Inherited& each : inherited) {
      posix_spawn_file_actions_adddup2(&actions_, each.fd, number++);
    }
    posix_spawn_file_actions_addclosefrom_np(&actions_, number);
  }
  ~SpawnFiles() { posix_spawn_file_actions_destroy(&actions_); }
  SpawnFiles(const SpawnFiles&) = delete;
  SpawnFiles& operator=(const SpawnFiles&) = delete;
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

// While it lives, this thread, and so a child that it starts, runs on these cores alone.
class ThreadAffinity {
 public:
  explicit ThreadAffinity(const std::vector<int>& cores) {
    if (cores.empty() || sched_getaffinity(0, sizeof(before_), &before_) != 0) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int core : cores) CPU_SET(core, &set);
    is_changed_ = sched_setaffinity(0, sizeof(set), &set) == 0;
  }
  ~ThreadAffinity() {
    if (is_changed_) sched_setaffinity(0, sizeof(before_), &before_);
  }
  ThreadAffinity(const ThreadAffinity&) = delete;
  ThreadAffinity& operator=(const ThreadAffinity&) = delete;

 private:
  cpu_set_t before_;
  bool is_changed_ = false;
};

std::vector<std::string> EnvironmentFor(const WorkerCommand& command) {
  std::map<std::string, std::string> variables = command.variables;
  int number = kFirstInheritedFd;
  for (const WorkerCommand::Inherited& each : command.inherited) {
    variables[each.variable] = absl::StrCat(number++);
  }
  std::vector<std::string> result;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!variables.contains(text.substr(0, text.find('=')))) result.push_back(text);
  }
  for (const auto& [name, value] : variables) result.push_back(absl::StrCat(name, "=", value));
  return result;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::string DescribeEnd(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return absl::StrCat("exited with status ", info.si_status);
  const char* name = sigdescr_np(info.si_status);
  std::string text = absl::StrCat("was killed by signal ", info.si_status, " (",
                                  name != nullptr ? name : "unknown", ")");
  if (info.si_status == SIGKILL) {
    absl::StrAppend(&text, ", by hand or by the kernel for want of memory");
  }
  if (info.si_status == SIGBUS) {
    absl::StrAppend(&text,
                    ": a file that it had mapped, most likely of the checkpoint, was cut "
                    "short or cannot be read");
  }
  return text;
}

}  // namespace

absl::StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return SystemError("cannot make a pipe", errno);
  const FileDescriptor low_read(fds[0]);
  const FileDescriptor low_write(fds[1]);
  Pipe pipe;
  pipe.read_end = AboveInherited(low_read);
  pipe.write_end = AboveInherited(low_write);
  if (!pipe.read_end.is_open() || !pipe.write_end.is_open()) {
    return SystemError("cannot make a pipe", errno);
  }
  return pipe;
}

absl::StatusOr<std::unique_ptr<WorkerProcess>> WorkerProcess::Spawn(const WorkerCommand& command) {
  absl::StatusOr<Pipe> output = MakePipe();
  if (!output.ok()) return output.status();
  fcntl(output->read_end.get(), F_SETFL, O_NONBLOCK);
  std::vector<std::string> arguments = command.arguments;
  arguments.insert(arguments.begin(), command.binary.string());
  std::vector<std::string> environment = EnvironmentFor(command);
  const SpawnAttributes attributes;
  const SpawnFiles files(output->write_end.get(), command.inherited);
  const ThreadAffinity affinity(command.cores);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, command.binary.c_str(), files.get(), attributes.get(),
                                Pointers(arguments).data(), Pointers(environment).data());
  if (error != 0) {
    return SystemError(absl::StrCat("cannot start the worker ", command.binary.string()), error);
  }
  // Nobody else reaps, so the number cannot have been given to another process.
  FileDescriptor exit_fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  return std::unique_ptr<WorkerProcess>(
      new WorkerProcess(pid, std::move(exit_fd), std::move(output->read_end)));
}

WorkerProcess::~WorkerProcess() {
  if (Reap().has_value()) return;
  Signal(SIGKILL);
  siginfo_t info{};
  waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED);
}

const std::optional<std::string>& WorkerProcess::Reap() {
  if (end_.has_value()) return end_;
  siginfo_t info{};
  const int result = waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG);
  if (result == 0 && info.si_pid == pid_) {
    end_ = DescribeEnd(info);
  } else if (result != 0 && errno == ECHILD) {
    end_ = "ended, and somebody else was told how";
  }
  if (end_.has_value()) exit_fd_.Close();
  return end_;
}

void WorkerProcess::Signal(int signal) {
  if (!end_.has_value()) kill(pid_, signal);
}

}  // namespace lockstep::server
