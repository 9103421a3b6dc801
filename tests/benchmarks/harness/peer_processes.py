"""Processes that load once and then carry out commands: each line of JSON over a Unix socket is a command, or its answer."""

import json
import os
import select
import socket
import tempfile
import time

from harness.children import BenchmarkError, Child


class PeerProcesses:
    """Starts a command that connects `num_connections` times to the socket it is told, each with a hello as its first line."""

    def __init__(self, name, command, num_connections, log_path, start_seconds, environment=None):
        self.name = name
        self._connections = []
        self._directory = tempfile.TemporaryDirectory(prefix="lockstep-bench-")
        path = os.path.join(self._directory.name, "peers")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(num_connections)
            self._child = Child(command(path), log_path, environment)
            try:
                for _ in range(num_connections):
                    self._await(listener, start_seconds)
                    self._connections.append(_Connection(listener.accept()[0]))
            except BenchmarkError:
                self.stop()
                raise
        for connection in self._connections:
            connection.hello = self._read(connection, start_seconds)
        self._connections.sort(key=lambda connection: connection.hello.get("rank", 0))
        self.hellos = [connection.hello for connection in self._connections]

    @property
    def directory(self):
        """For files that peers and benchmark exchange."""
        return self._directory.name

    def _await(self, source, seconds):
        end = time.monotonic() + seconds
        while not select.select([source], [], [], 0.5)[0]:
            self._child.check_alive()
            if time.monotonic() > end:
                raise BenchmarkError(f"{self.name} gave no answer within {seconds} s; its log is {self._child.log_path}")

    def _read(self, connection, seconds):
        self._await(connection.socket, seconds)
        line = connection.lines.readline()
        if not line:
            self._child.await_end(seconds=30)
            self._child.check_alive()
            raise BenchmarkError(f"{self.name} ended; its log {self._child.log_path} ends:\n{self._child.log_tail()}")
        return json.loads(line)

    def run(self, seconds, **command):
        """The same command on all of them; their answers in order of rank."""
        for connection in self._connections:
            connection.lines.write(json.dumps(command) + "\n")
            connection.lines.flush()
        return [self._read(connection, seconds) for connection in self._connections]

    def stop(self):
        for connection in self._connections:
            connection.lines.close()
            connection.socket.close()
        self._child.stop()
        self._directory.cleanup()


class _Connection:
    def __init__(self, socket_):
        self.socket = socket_
        self.lines = socket_.makefile("rw", encoding="utf-8")
        self.hello = None
