"""A server with its workers as a child process."""

import os
import re
import select
import subprocess
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
        for text in self._output(time.monotonic() + seconds):
            if match := READY_LINE.search(text):
                return match.groups()
        status = self.child.process.poll()
        self.child.stop(grace_seconds=5)
        what = "was not ready" if status is None else f"ended with status {status} before it was ready"
        raise BenchmarkError(f"the server {what} ({seconds:.0f} s are its limit); its log ends:\n{self.child.log_tail()}")

    def _output(self, deadline):
        """All that the server has printed, again and again as it grows, until its end or the deadline."""
        output = self.child.process.stdout.fileno()
        printed = b""
        while select.select([output], [], [], max(0.0, deadline - time.monotonic()))[0]:
            part = os.read(output, 1 << 16)
            if not part:
                self.child.await_end(1)
                return
            printed += part
            yield printed[: printed.rfind(b"\n") + 1].decode("utf-8", "replace")

    def stop(self):
        self.child.stop(grace_seconds=15)
