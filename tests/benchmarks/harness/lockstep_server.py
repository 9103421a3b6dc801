"""A server with its workers as a child process."""

import re
import subprocess
import threading
import time

from harness.children import BenchmarkError, Child

READY_LINE = re.compile(r"listening on ([^ ,]+), metrics on ([^\s,]+)")


class LockstepServer:
    """Starts at once and returns when the server is ready, which `start_seconds` says how long it took."""

    def __init__(self, command, log_path, seconds):
        began = time.perf_counter()
        self.child = Child(command, log_path, stdout=subprocess.PIPE)
        self.target, self.metrics = self._await_ready_line(seconds)
        self.start_seconds = time.perf_counter() - began

    @property
    def pid(self):
        return self.child.pid

    def _await_ready_line(self, seconds):
        killer = threading.Timer(seconds, self.child.process.terminate)
        killer.start()
        try:
            for line in self.child.process.stdout:
                if match := READY_LINE.search(line.decode("utf-8", "replace")):
                    return match.groups()
        finally:
            killer.cancel()
        self.child.process.wait()
        raise BenchmarkError(f"the server ended before it was ready ({seconds} s are its limit); its log ends:\n{self.child.log_tail()}")

    def stop(self):
        self.child.stop(grace_seconds=15)
