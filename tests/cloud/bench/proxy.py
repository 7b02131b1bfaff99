"""The only way out: an HTTP CONNECT proxy on loopback that knows Google's hosts and refuses all others.

It decrypts nothing. A client that offers HTTP/2 in its TLS greeting is taken to the gRPC door, others to the REST door;
both hold a certificate of the throwaway authority for these hosts. HTTP CONNECT: RFC 9110, 9.3.6; ALPN: RFC 7301.
"""

import contextlib
import fnmatch
import socket
import socketserver
import threading

HOSTS = ("*.googleapis.com", "*-kfp.pkg.dev")


class Proxy:
    """It remembers what it refused, and which host each tunnel was for."""

    def __init__(self, grpc_port: int, rest_port: int) -> None:
        self.refused: list[str] = []
        self._ports = {True: grpc_port, False: rest_port}
        # By the door's port and the port that a tunnel comes from: tunnels to different doors may come from one port.
        self._tunnels: dict[tuple[int, int], tuple[str, tuple[socket.socket, socket.socket]]] = {}
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    proxy._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def host(self, door_port: int, port: int) -> str:
        """Give the host that the tunnel from a port to a door was asked for."""
        return self._tunnels[door_port, port][0] if (door_port, port) in self._tunnels else ""

    def cut(self, door_port: int, port: int) -> None:
        """End a tunnel, as a broken line would."""
        if (door_port, port) in self._tunnels:
            for end in self._tunnels[door_port, port][1]:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, client: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            received = client.recv(65536)
            if not received:
                return
            request += received
        verb, target = request.split(b"\r\n", 1)[0].decode("latin-1").split(" ")[:2]
        host, _, port = target.rpartition(":")
        if verb != "CONNECT" or port != "443" or not any(fnmatch.fnmatchcase(host, known) for known in HOSTS):
            self.refused.append(f"{verb} {target}")
            client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        greeting = _greeting(client)
        door_port = self._ports[_offers_http2(greeting)]
        with socket.create_connection(("127.0.0.1", door_port)) as door:
            tunnel = (door_port, door.getsockname()[1])
            self._tunnels[tunnel] = (host, (client, door))
            try:
                door.sendall(greeting)
                threading.Thread(target=_pump, args=(door, client), daemon=True).start()
                _pump(client, door)
            finally:
                del self._tunnels[tunnel]


def _greeting(client: socket.socket) -> bytes:
    """Read a whole TLS record: its header's last two bytes are its length."""
    record = b""
    while len(record) < 5 or len(record) < 5 + int.from_bytes(record[3:5], "big"):
        received = client.recv(65536)
        if not received:
            raise ConnectionError("no TLS greeting")
        record += received
    return record


def _offers_http2(record: bytes) -> bool:
    """Whether a ClientHello offers h2: RFC 8446, 4.1.2; extension 16 is RFC 7301's."""
    position = 5 + 4 + 2 + 32  # record, handshake, version, random
    position += 1 + record[position]  # session
    position += 2 + int.from_bytes(record[position : position + 2], "big")  # ciphers
    position += 1 + record[position]  # compression
    end = position + 2 + int.from_bytes(record[position : position + 2], "big")
    position += 2
    while position + 4 <= end:
        kind = int.from_bytes(record[position : position + 2], "big")
        size = int.from_bytes(record[position + 2 : position + 4], "big")
        if kind == 16:
            return b"\x02h2" in record[position + 6 : position + 4 + size]
        position += 4 + size
    return False


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while received := source.recv(65536):
            sink.sendall(received)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
