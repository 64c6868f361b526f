# SPDX-License-Identifier: GPL-2.0-only
"""The blob ``LUO``: sessions, their files, and the objects that live as long as files do (FLB).

Source: include/linux/kho/abi/luo.h and kernel/liveupdate/luo_*.c. Two forms are known: luo-v1, a device tree
that points to arrays (6.19 to 7.1), and luo-v5, a struct that points to chains of blocks (since 7.2).
Sessions and files are written at reboot(2), and so are not there before.
"""

from collections.abc import Container
from dataclasses import dataclass, field

from kernel.abi import blocks, fdt, memfd
from kernel.abi.blocks import Block, Chain
from kernel.abi.errors import Broken
from kernel.abi.memfd import Memfd
from kernel.abi.memory import Memory
from kernel.abi.preserved import Part
from kernel.abi.structure import Struct, text
from kernel.abi.visited import Visited

NAME = "LUO"
_KNOWN = ("luo-v1", "luo-v5")


@dataclass(frozen=True, slots=True)
class State(Struct):
    """struct luo_ser, the blob of luo-v5."""

    FORMAT = "<8sQQQ"

    compatible: bytes
    liveupdate_num: int
    sessions: int
    flbs: int


@dataclass(frozen=True, slots=True)
class SessionEntry(Struct):
    """struct luo_session_ser, with its struct luo_file_set_ser unfolded."""

    FORMAT = "<64sQQ"

    name: bytes
    files: int
    count: int


@dataclass(frozen=True, slots=True)
class FileEntry(Struct):
    """struct luo_file_ser; ``data`` is the handler's own, most often an address."""

    FORMAT = "<48sQQ"

    compatible: bytes
    data: int
    token: int


@dataclass(frozen=True, slots=True)
class FlbHeader(Struct):
    """struct luo_flb_header_ser: ``pages`` of memory, and ``count`` entries right after this."""

    FORMAT = "<QQ"

    pages: int
    count: int


@dataclass(frozen=True, slots=True)
class FlbEntry(Struct):
    """struct luo_flb_ser: ``count`` files depend on the object."""

    FORMAT = "<48sQQ"

    name: bytes
    data: int
    count: int


@dataclass(frozen=True, slots=True)
class SessionHeader(Struct):
    """struct luo_session_header_ser of luo-v1: ``count`` sessions right after it."""

    FORMAT = "<Q"

    count: int


@dataclass(frozen=True)
class ArraySizes:
    """What luo-v1 allocates, in pages: LUO_SESSION_PGCNT, LUO_FILE_PGCNT and LUO_FLB_PGCNT."""

    sessions: int = 16
    files: int = 2
    flbs: int = 1


SIZES = ArraySizes()
_SESSIONS = ("luo-session", "luo-session-v2", "luo-session-header")  # node, compatible, property
_FLBS = ("luo-flb", "luo-flb-v1", "luo-flb-header")


@dataclass(frozen=True)
class File:
    """``memfd`` is None for the files of other handlers, which the caller asked not to be looked into."""

    entry: FileEntry
    compatible: str
    memfd: Memfd | None

    @property
    def token(self) -> int:
        return self.entry.token


@dataclass(frozen=True)
class Session:
    """``blocks`` is empty in luo-v1, whose files are in one array."""

    entry: SessionEntry
    name: str
    files: tuple[File, ...]
    blocks: tuple[Block, ...]

    def file(self, token: int) -> File:
        """Raises KeyError where no file has the token."""
        for one in self.files:
            if one.token == token:
                return one
        raise KeyError(token)


@dataclass(frozen=True)
class Flbs:
    header: FlbHeader
    entries: tuple[FlbEntry, ...]


@dataclass(frozen=True)
class Luo:
    """``state`` is the blob in the form it has. ``storage`` is all memory that LUO itself allocated but the
    blob's own; ``blocks`` those of the sessions (luo-v5), ``session_header`` that of their array (luo-v1).
    """

    address: int
    compatible: str
    number: int
    state: State | fdt.Tree
    sessions: tuple[Session, ...]
    flbs: Flbs | None
    storage: tuple[Part, ...]
    blocks: tuple[Block, ...] = ()
    session_header: SessionHeader | None = None

    def session(self, name: str) -> Session:
        """Raises KeyError where none has the name."""
        for one in self.sessions:
            if one.name == name:
                return one
        raise KeyError(name)


def read(
    memory: Memory, address: int, size: int | None, visited: Visited, opaque: Container[str] = ()
) -> Luo:
    """The blob and all it leads to.

    ``size`` is the blob's where KHO tells it; ``opaque`` are handlers whose data is not looked into. Raises
    Broken for a blob of unknown form and a file of unknown handler.
    """
    where = f"LUO blob at {address:#x}"
    memory.aligned(address, where)
    reader = _Reader(memory, visited, opaque)
    if memory.read(address, 4, where) == fdt.MAGIC.to_bytes(4, "big"):
        return reader.tree(address, memory.page_size if size is None else size, where)
    return reader.blob(address, State.size_of() if size is None else size, where)


def number(memory: Memory, address: int, size: int | None) -> int:
    """The live update number alone; raises Broken as read() does."""
    where = f"LUO blob at {address:#x}"
    if memory.read(address, 4, where) == fdt.MAGIC.to_bytes(4, "big"):
        tree = fdt.parse(memory, address, memory.page_size if size is None else size, where)
        return tree.root.property("liveupdate-number", where).word(where)
    return state(memory, address, State.size_of() if size is None else size).liveupdate_num


def state(memory: Memory, address: int, size: int) -> State:
    """The blob of luo-v5 alone; raises Broken for what is none, as the kernel judges it."""
    where = f"LUO blob at {address:#x}"
    if size < State.size_of():
        raise Broken(f"{size} bytes, less than {State.size_of()}", where)
    blob = State.unpack(memory, address, where)
    # strncmp() of luo_early_startup(): up to the NUL
    if blob.compatible.partition(b"\0")[0] != b"luo-v5":
        raise Broken(f"unknown ABI {blob.compatible!r}; known: {', '.join(_KNOWN)}", where)
    return blob


@dataclass
class _Reader:
    memory: Memory
    visited: Visited
    opaque: Container[str]
    storage: list[Part] = field(default_factory=list)

    def blob(self, address: int, size: int, where: str) -> Luo:
        blob = state(self.memory, address, size)
        chain = blocks.read(self.memory, blob.sessions, SessionEntry, self.visited, f"{where}: sessions")
        self._keep(chain, "session block")
        sessions = tuple(self._session_of_blocks(entry) for entry in chain.entries)
        flbs = self._flbs(blob.flbs) if blob.flbs else None
        return Luo(
            address, "luo-v5", blob.liveupdate_num, blob, sessions, flbs, tuple(self.storage), chain.blocks
        )

    def tree(self, address: int, room: int, where: str) -> Luo:
        tree = fdt.parse(self.memory, address, min(room, self.memory.page_size), where)
        compatible = tree.root.compatible(("luo-v1",), where)
        number = tree.root.property("liveupdate-number", where).word(where)
        at = self._header(tree.root, _SESSIONS, where)
        if at is None:
            raise Broken(f"there is no node '{_SESSIONS[0]}'", where)
        header, entries = self._session_array(at)
        sessions = tuple(self._session_of_array(entry) for entry in entries)
        flb_page = self._header(tree.root, _FLBS, where)  # since 7.0
        flbs = self._flbs(flb_page) if flb_page is not None else None
        return Luo(
            address, compatible, number, tree, sessions, flbs, tuple(self.storage), session_header=header
        )

    def _header(self, root: fdt.Node, names: tuple[str, str, str], where: str) -> int | None:
        name, compatible, header = names
        node = root.child(name)
        if node is None:
            return None
        node.compatible((compatible,), where)
        return node.property(header, where).word(where)

    def _session_array(self, address: int) -> tuple[SessionHeader, list[SessionEntry]]:
        where = f"session array at {address:#x}"
        length = SIZES.sessions * self.memory.page_size
        self.visited.once(address, where)
        self.memory.block(address, length, where)
        header = SessionHeader.unpack(self.memory, address, where)
        room = (length - SessionHeader.size_of()) // SessionEntry.size_of()
        if header.count > room:
            raise Broken(f"{header.count} sessions where {room} have room", where)
        self.storage.append(Part(address, length, "session array"))
        start = address + SessionHeader.size_of()
        return header, SessionEntry.unpack_array(self.memory, start, header.count, where)

    def _session_of_array(self, entry: SessionEntry) -> Session:
        name, where = _name(entry)
        files: list[FileEntry] = []
        if entry.files:
            where = f"{where}: file array at {entry.files:#x}"
            length = SIZES.files * self.memory.page_size
            self.visited.once(entry.files, where)
            self.memory.block(entry.files, length, where)
            room = length // FileEntry.size_of()
            if entry.count > room:
                raise Broken(f"{entry.count} files where {room} have room", where)
            self.storage.append(Part(entry.files, length, f"file array of session '{name}'"))
            files = FileEntry.unpack_array(self.memory, entry.files, entry.count, where)
        elif entry.count:
            raise Broken(f"{entry.count} files that are nowhere", where)
        return Session(entry, name, tuple(self._file(one, name, where) for one in files), ())

    def _session_of_blocks(self, entry: SessionEntry) -> Session:
        name, where = _name(entry)
        chain = blocks.read(self.memory, entry.files, FileEntry, self.visited, f"{where}: files")
        if len(chain.entries) != entry.count:
            raise Broken(f"{entry.count} files are expected, {len(chain.entries)} found", where)
        self._keep(chain, f"file block of session '{name}'")
        files = tuple(self._file(one, name, where) for one in chain.entries)
        return Session(entry, name, files, chain.blocks)

    def _file(self, entry: FileEntry, session: str, where: str) -> File:
        compatible = text(entry.compatible, "the file's handler", f"{where}: file at {entry.address:#x}")
        where = f"{where}: file {entry.token}"
        if compatible in self.opaque:
            return File(entry, compatible, None)
        if compatible not in memfd.FORMS:
            raise Broken(f"handler '{compatible}' is unknown; known: {', '.join(memfd.FORMS)}", where)
        return File(entry, compatible, memfd.read(self.memory, entry.data, compatible, self.visited, where))

    def _flbs(self, address: int) -> Flbs:
        where = f"FLB page at {address:#x}"
        length = SIZES.flbs * self.memory.page_size
        self.visited.once(address, where)
        self.memory.block(address, length, where)
        header = FlbHeader.unpack(self.memory, address, where)
        if header.pages != SIZES.flbs:
            raise Broken(f"{header.pages} pages, not {SIZES.flbs}", where)
        room = (length - FlbHeader.size_of()) // FlbEntry.size_of()
        if header.count > room:
            raise Broken(f"{header.count} objects where {room} have room", where)
        entries = FlbEntry.unpack_array(self.memory, address + FlbHeader.size_of(), header.count, where)
        for entry in entries:
            text(entry.name, "the object's name", f"FLB at {entry.address:#x}")
        self.storage.append(Part(address, length, "FLB page"))
        return Flbs(header, tuple(entries))

    def _keep(self, chain: Chain[SessionEntry] | Chain[FileEntry], what: str) -> None:
        size = self.memory.page_size
        self.storage += [Part(block.address, size, what) for block in chain.blocks]


def _name(entry: SessionEntry) -> tuple[str, str]:
    """A session's name, and how to speak of it."""
    name = text(entry.name, "the name", f"session at {entry.address:#x}")
    return name, f"session '{name}' at {entry.address:#x}"
