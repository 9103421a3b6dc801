"""A way to a server that can cease to carry anything, as if the server's machine had vanished."""

import select
import socket
import threading


class SilentProxy:
    """Listens on a port of its own; use as a context manager."""

    def __init__(self, server):
        host, port = server.rsplit(":", 1)
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._silent = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def _carry(self):
        peers = {}
        while not self._silent.is_set():
            for source in select.select([self._listener, self._woken, *peers], [], [])[0]:
                if source is self._listener:
                    client, server = source.accept()[0], socket.create_connection(self._server)
                    peers |= {client: server, server: client}
                elif source in peers:
                    data = source.recv(65536)
                    if data:
                        peers[source].sendall(data)
                    else:
                        other = peers.pop(source)
                        del peers[other]
                        source.close()
                        other.close()
                        break  # what select named may be closed
        self._open = list(peers)

    def go_silent(self):
        """From now on nothing passes, and no connection ends, until the proxy's own end."""
        self._silent.set()
        self._wake.send(b"x")
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.go_silent()
        for end in [self._listener, self._wake, self._woken, *self._open]:
            end.close()
