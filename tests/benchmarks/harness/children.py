"""Child processes that cannot outlive the benchmark."""

import os
import select
import shutil
import signal
import subprocess


class BenchmarkError(Exception):
    """What a person has to know and can act on; shown without a trace."""


class Child:
    """A process in its own session: Ctrl-C reaches the benchmark alone, which then stops its children in order."""

    def __init__(self, command, log_path, environment=None, stdout=None):
        self.command = [str(part) for part in command]
        self.log_path = log_path
        # Should the benchmark be killed outright, the kernel ends the child.
        guard = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
        with open(log_path, "wb") as log:
            self.process = subprocess.Popen(
                guard + self.command,
                stdin=subprocess.DEVNULL,
                stdout=stdout or log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self._carry_niceness()

    def _carry_niceness(self):
        """Where the kernel schedules by session (autogroups), a process' own niceness says nothing outside its session."""
        niceness = os.getpriority(os.PRIO_PROCESS, 0)
        try:
            with open(f"/proc/{self.pid}/autogroup", "w", encoding="utf-8") as autogroup:
                autogroup.write(str(niceness))
        except OSError:
            pass  # no autogroups here, or no right to raise the priority

    @property
    def pid(self):
        return self.process.pid

    def check_alive(self):
        status = self.process.poll()
        if status is not None:
            raise BenchmarkError(
                f"{os.path.basename(self.command[0])} ended with status {status}; its log {self.log_path} ends:\n"
                + self.log_tail()
            )

    def await_end(self, seconds):
        """Of a process that is leaving: until its status and the end of its log are there, or the time is over."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass

    def log_tail(self, num_lines=15):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return "".join(log.readlines()[-num_lines:])

    def stop(self, grace_seconds=10):
        """Ends the process and whatever is left of its session."""
        if self.process.poll() is None:
            self.process.terminate()
            self.await_end(grace_seconds)
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.await_end(grace_seconds)  # a process that a driver holds does not even end when it is killed
        if self.process.stdout:
            self.process.stdout.close()


def run_to_end(command, log_path, seconds, stdout=None):
    """A command's status, or None where its time was over; nothing of it runs on."""
    child = Child(command, log_path, stdout=stdout)
    child.await_end(seconds)
    status = child.process.poll()
    child.stop(grace_seconds=2)
    return status


def cpu_seconds(pid):
    """User and system time of a process so far; 0 once it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(pid):
    """Resident memory in bytes: all of it, its proportional share, by kind, and the peak so far."""
    kinds = {"Rss": "rss", "Pss": "pss", "Pss_Anon": "pss_anonymous", "Pss_File": "pss_file", "Pss_Shmem": "pss_shared"}
    result = {}
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as rollup:
        for line in rollup:
            name = line.split(":")[0]
            if name in kinds:
                result[kinds[name]] = int(line.split()[1]) * 1024
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                result["peak_rss"] = int(line.split()[1]) * 1024
    return result


def end_process(pid, grace_seconds=5):
    """Waits for a descendant that should be leaving, and kills it if it does not."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not select.select([descriptor], [], [], grace_seconds)[0]:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)
