"""A proxy before Redis that can turn deaf: what is published gets lost on the way back, everything else passes."""

import contextlib
import socket
import threading


class Proxy:
    def __init__(self, port):
        self.target = port
        self.is_deaf = threading.Event()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.close()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.server.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                for one, other, passes in ((client, server, None), (server, client, self.passes)):
                    threading.Thread(target=self.pump, args=(one, other, passes), daemon=True).start()

    def passes(self, data):
        """Replies of Redis come alone or in groups; a group that has a published message in it is held back whole."""
        return not (self.is_deaf.is_set() and b"$7\r\nmessage\r\n" in data)

    @staticmethod
    def pump(source, sink, passes):
        with contextlib.suppress(OSError), source, sink:
            while data := source.recv(1 << 16):
                if passes is None or passes(data):
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)
