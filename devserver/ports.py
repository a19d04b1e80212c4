"""Free TCP ports of this machine."""

from __future__ import annotations

import socket

TRIES = 100


def is_free(port: int, host: str) -> bool:
    """Whether we could listen there, and nobody else is answering to the name that a browser will ask for."""
    for family, _, _, _, address in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(0.5)
            if probe.connect_ex(address) == 0:
                return False
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def next_free(wanted: int, host: str, taken: frozenset[int] = frozenset()) -> int:
    """The wanted port, or the first free one after it."""
    for port in range(wanted, min(wanted + TRIES, 65536)):
        if port not in taken and is_free(port, host):
            return port
    raise OSError(f"No free port from {wanted} on.")
