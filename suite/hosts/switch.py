# SPDX-License-Identifier: GPL-2.0-only
"""``python -m suite.hosts.switch SOCKET on|off|cycle``: the power of a host that a virtual machine plays."""

import socket
import sys


def main(path: str, verb: str) -> str | None:
    with socket.socket(socket.AF_UNIX) as switch:
        switch.connect(path)
        switch.sendall(verb.encode())
        answer = switch.recv(4096).decode()
    return None if answer == "ok" else answer or "the switch is broken"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
