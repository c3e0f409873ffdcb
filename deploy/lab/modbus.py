"""A Modbus/TCP server and client on plain sockets (Modbus application protocol 1.1b3), for the lab's traffic."""

from __future__ import annotations

import random
import socket
import socketserver
import struct
import sys
import time

READ_HOLDING, WRITE_SINGLE = 3, 6


class Handler(socketserver.BaseRequestHandler):
    """Answers reads of holding registers and writes of one register."""

    def handle(self) -> None:
        """Serve one connection until it closes."""
        registers = [0] * 128
        while True:
            head = self.request.recv(7, socket.MSG_WAITALL)
            if len(head) < 7:
                return
            transaction, _, length, unit = struct.unpack(">HHHB", head)
            body = self.request.recv(length - 1, socket.MSG_WAITALL)
            function, address, value = struct.unpack(">BHH", body[:5])
            if function == WRITE_SINGLE:
                registers[address % 128] = value
                answer = body
            else:
                values = [registers[(address + i) % 128] for i in range(min(value, 120))]
                answer = struct.pack(">BB", function, 2 * len(values)) + struct.pack(f">{len(values)}H", *values)
            self.request.sendall(struct.pack(">HHHB", transaction, 0, len(answer) + 1, unit) + answer)


class Server(socketserver.ThreadingTCPServer):
    """A server that may be started again at once."""

    allow_reuse_address = True
    daemon_threads = True


def poll(host: str, seconds: float, seed: int) -> None:
    """Poll a server ten times a second for `seconds`: mostly reads, now and then a write."""
    rng = random.Random(seed)
    with socket.create_connection((host, 502), timeout=10) as connection:
        end = time.monotonic() + seconds
        transaction = 0
        while time.monotonic() < end:
            transaction = transaction % 65535 + 1
            function = WRITE_SINGLE if rng.random() < 0.1 else READ_HOLDING
            body = struct.pack(">BHH", function, rng.randrange(100), rng.randrange(1, 20))
            connection.sendall(struct.pack(">HHHB", transaction, 0, len(body) + 1, rng.randrange(1, 4)) + body)
            if not connection.recv(260):
                return
            time.sleep(0.1)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        Server(("", 502), Handler).serve_forever()
    else:
        poll(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
