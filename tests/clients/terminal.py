"""A process on a pseudo-terminal, typed to and read as a person does."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import threading
import time

TIMEOUT = 60


class Terminal:
    """A process on a pseudo-terminal, of so many columns; 0: it does not say how many."""

    def __init__(self, *command, columns=0):
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
            os.execv(command[0], command)
        self.output = ""

    def expect(self, pattern):
        """Reads until the pattern matches what has not matched before; returns the match."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            found = re.search(pattern, self.output)
            if found:
                self.output = self.output[found.end():]
                return found
            ready, _, _ = select.select([self._fd], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"waited for {pattern!r}, have {self.output!r}")
            try:
                data = os.read(self._fd, 65536)
            except OSError:  # the other end is closed
                data = b""
            if not data:
                raise AssertionError(f"ended before {pattern!r} came, with {self.output!r}")
            self.output += data.decode(errors="replace")

    def type(self, text):
        os.write(self._fd, text.encode())

    def send_signal(self, number):
        os.kill(self.pid, number)

    def exit_code(self):
        """Reads what is left, so that the process is not held up by a full terminal."""
        watchdog = threading.Timer(TIMEOUT, os.kill, (self.pid, signal.SIGKILL))
        watchdog.start()
        try:
            while os.read(self._fd, 65536):
                pass
        except OSError:
            pass
        _, status = os.waitpid(self.pid, 0)
        watchdog.cancel()
        os.close(self._fd)
        return os.waitstatus_to_exitcode(status)
