# SPDX-License-Identifier: GPL-2.0-only
"""Handovers and their parts as text, for people."""

from collections.abc import Iterator

from kernel.abi import fdt
from kernel.abi.account import Account
from kernel.abi.handover import Handover
from kernel.abi.luo import Luo, Session, State
from kernel.abi.memfd import Memfd, MemfdV2
from kernel.abi.metadata import KexecMetadata
from kernel.abi.preserved import MemoryMap
from kernel.abi.search import Handovers

_STEP = "  "
_SHOWN_FOLIOS = 4


def search(handovers: Handovers) -> Iterator[str]:
    """One line for each KHO FDT in RAM."""
    for one in handovers.found:
        role = {handovers.incoming: "incoming", handovers.outgoing: "outgoing"}.get(one, "left over")
        counts = [f"kexec {one.count}"] * (one.count is not None)
        counts += [f"live update {one.number}"] * (one.number is not None)
        said = ", ".join([one.root.abi.compatible, *counts])
        yield f"{one.root.address:#x} {role}: {said}, named by {len(one.records)} setup_data records"


def handover(what: Handover) -> Iterator[str]:
    yield f"KHO FDT at {what.root.address:#x}: {what.root.abi.compatible}"
    yield from _within(_map(what.memory_map))
    if what.metadata is not None:
        yield from _within(metadata(what.metadata))
    if what.reserved is not None:
        yield f"{_STEP}memblock FDT at {what.reserved.tree.address:#x}"
        for area in what.reserved.areas:
            yield f"{_STEP * 2}'{area.name}': {area.size} bytes at {area.start:#x}"
    if what.luo is not None:
        yield from _within(luo(what.luo))
    for other in what.others:
        size = "" if other.size is None else f", {other.size} bytes"
        yield f"{_STEP}blob '{other.name}' at {other.blob:#x}{size}"
    yield from str(Account.of(what)).splitlines()


def metadata(what: KexecMetadata) -> Iterator[str]:
    yield f"kexec-metadata at {what.address:#x}: from {what.release}, kexec {what.kexec_count}"


def luo(what: Luo) -> Iterator[str]:
    yield f"LUO at {what.address:#x}: {what.compatible}, live update {what.number}"
    for session in what.sessions:
        yield from _within(_session(session))
    if what.flbs is not None:
        yield f"{_STEP}FLB page at {what.flbs.header.address:#x}"
        for flb in what.flbs.entries:
            name = flb.name.partition(b"\0")[0].decode(errors="backslashreplace")
            yield f"{_STEP * 2}'{name}': data {flb.data:#x}, {flb.count} files"


def state(what: State) -> Iterator[str]:
    """LUO's blob alone, where the memory that it points to is not at hand."""
    yield f"LUO: luo-v5, live update {what.liveupdate_num}"
    yield f"{_STEP}sessions at {what.sessions:#x}, FLB page at {what.flbs:#x}"


def tree(what: fdt.Node) -> Iterator[str]:
    """Nodes and properties; eight bytes are shown as the native word that KHO would store."""
    yield f"{what.name or '/'}"
    for one in what.properties:
        yield f"{_STEP}{one.name} = {_value(one)}"
    for child in what.children:
        yield from _within(tree(child))


def _session(what: Session) -> Iterator[str]:
    yield f"session '{what.name}' at {what.entry.address:#x}: {len(what.files)} files"
    for file in what.files:
        if file.memfd is None:
            yield f"{_STEP}file {file.token}: {file.compatible}, data {file.entry.data:#x}"
        else:
            yield f"{_STEP}file {file.token}: {file.compatible} at {file.entry.data:#x}"
            yield from _within(_within(_memfd(file.memfd)))


def _memfd(what: Memfd) -> Iterator[str]:
    header = what.header
    seals = f", seals {header.seals:#x}" if isinstance(header, MemfdV2) else ""
    yield f"{header.size} bytes, position {header.pos}{seals}, {header.nr_folios} folios"
    for folio in what.folios[:_SHOWN_FOLIOS]:
        yield f"page {folio.index}: pfn {folio.pfn:#x}, flags {folio.flags:#x}"
    if len(what.folios) > _SHOWN_FOLIOS:
        yield f"and {len(what.folios) - _SHOWN_FOLIOS} more"


def _map(what: MemoryMap) -> Iterator[str]:
    pages = sum(1 << block.order for block in what.blocks)
    blocks = f"{pages} pages in {len(what.blocks)} blocks"
    yield f"memory map at {what.address:#x}: {blocks}, {len(what.parts)} parts of its own"


def _value(one: fdt.Property) -> str:
    if one.strings and all(string and string.isprintable() for string in one.strings):
        return ", ".join(f'"{string}"' for string in one.strings)
    if len(one.value) == 8:
        return f"{one.word('property'):#x}"
    return one.value.hex(" ")


def _within(lines: Iterator[str]) -> Iterator[str]:
    return (_STEP + line for line in lines)
