# SPDX-License-Identifier: GPL-2.0-only
"""A program that uses live update, in the machine: no module of this project, but the machine's own Python.

``client.py VERB …``. It says on standard output what came of it, also what was refused.
"""

import errno
import fcntl
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path

# include/uapi/linux/liveupdate.h
CREATE, RETRIEVE = 0xBA00, 0xBA01
PRESERVE_FD, RETRIEVE_FD, FINISH = 0xBA40, 0xBA41, 0xBA42
NAME = "<Ii64s"  # size, fd, name
FILE = "<IiQ"  # size, fd, token
END = "<II"  # size, reserved

TOKEN = 7
FIRST_INHERITED = 3  # sd_listen_fds(3)
PATIENCE = 120.0  # seconds for a server to come up, on an emulated machine


def ioctl(fd: int, number: int, form: str, *values: int | bytes) -> int:
    """Make the call; the second field of what the kernel left there, a descriptor."""
    argument = bytearray(struct.pack(form, struct.calcsize(form), *values))
    fcntl.ioctl(fd, number, argument)
    return int(struct.unpack(form, argument)[1])


def session(number: int, name: str) -> int:
    """A session's descriptor, new or of the kernel before."""
    device = os.open("/dev/liveupdate", os.O_RDWR | os.O_CLOEXEC)
    fd = ioctl(device, number, NAME, -1, name.encode())
    os.close(device)
    return fd


def memory(content: str) -> int:
    fd = os.memfd_create("client")
    os.write(fd, content.encode())
    return fd


def text(fd: int) -> str:
    return os.pread(fd, os.fstat(fd).st_size, 0).decode()


def preserve(session_fd: int, content: str) -> None:
    ioctl(session_fd, PRESERVE_FD, FILE, memory(content), TOKEN)


def retrieve(session_fd: int) -> str:
    return text(ioctl(session_fd, RETRIEVE_FD, FILE, -1, TOKEN))


def link(fd: int) -> str:
    return str(Path(f"/proc/self/fd/{fd}").readlink())


def say(*words: str) -> None:
    print(*words, flush=True)


def say_label() -> None:
    """What an access policy takes this process for."""
    try:
        say(Path("/proc/self/attr/current").read_text().strip("\0\n"))
    except OSError:
        say("unconfined")


def notify(words: str, *fds: int) -> None:
    """Tell the service manager, sd_notify(3)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.connect(os.environ["NOTIFY_SOCKET"])
        socket.send_fds(to, [words.encode()], fds)


def inherited() -> dict[str, int]:
    """Descriptors that the service manager kept, by name."""
    names = os.environ.get("LISTEN_FDNAMES", "").split(":") if os.environ.get("LISTEN_FDS") else []
    return {name: FIRST_INHERITED + place for place, name in enumerate(names)}


# The verbs


def opens() -> None:
    """Whether it may open the device."""
    say_label()
    os.close(os.open("/dev/liveupdate", os.O_RDWR | os.O_CLOEXEC))
    say("opened")


def puts(content: str) -> None:
    """Preserve something in the session that is its standard input."""
    say_label()
    preserve(0, content)
    say("preserved")


def takes() -> None:
    """Take it back from there."""
    say_label()
    say(retrieve(0))


def owns(name: str, content: str) -> None:
    """Own a session until the end."""
    fd = session(CREATE, name)
    preserve(fd, content)
    say("owns", link(fd))
    signal.pause()


def claims(name: str) -> None:
    """Take back what one that owned a session left."""
    fd = session(RETRIEVE, name)
    say(retrieve(fd))
    ioctl(fd, FINISH, END, 0)


def serves(name: str, content: str) -> None:
    """A service that leaves with its manager a memory and a session of its own, or finds them there."""
    kept = inherited()
    if "memory" in kept:
        say("memory:", text(kept["memory"]))
    else:
        notify("FDSTORE=1\nFDNAME=memory", memory(content))
    if "session" in kept:
        say("session:", link(kept["session"]), retrieve(kept["session"]))
        ioctl(kept["session"], FINISH, END, 0)
    else:
        fd = session(CREATE, name)
        preserve(fd, content[::-1])
        notify("FDSTORE=1\nFDNAME=session", fd)
    notify("READY=1")
    signal.pause()


def runs(size: str, place: str, *command: str) -> None:
    """Become a program whose file at ``place`` is a memory that the manager keeps, or has kept."""
    fd = inherited().get("memory")
    say("memory:", "new" if fd is None else "kept")
    if fd is None:
        fd = os.memfd_create("cache")
        os.ftruncate(fd, int(size))
        notify("FDSTORE=1\nFDNAME=memory", fd)
    os.set_inheritable(fd, True)
    Path(place).unlink(missing_ok=True)
    Path(place).symlink_to(f"/proc/self/fd/{fd}")
    os.execv(command[0], command)


def asks(path: str, *lines: str) -> None:
    """Give a server lines, one after the other, and say what each is answered."""
    with connected(path) as server, server.makefile("rwb", 0) as stream:
        for line in lines:
            stream.write(line.encode().decode("unicode_escape").encode("latin-1") + b"\r\n")
            answer = b""
            while not answer.endswith((b"END\r\n", b"STORED\r\n", b"ERROR\r\n")):
                if not (more := stream.readline()):
                    break
                answer += more
            say(" ".join(answer.decode("latin-1").split("\r\n")).strip())


def connected(path: str) -> socket.socket:
    end = time.monotonic() + PATIENCE
    while True:
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(path)
        except OSError:
            server.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.1)  # nothing tells when it is up
        else:
            return server


VERBS = {verb.__name__: verb for verb in (opens, puts, takes, owns, claims, serves, runs, asks)}

if __name__ == "__main__":
    try:
        VERBS[sys.argv[1]](*sys.argv[2:])
    except OSError as error:
        say("refused", errno.errorcode.get(error.errno or 0, str(error)))
