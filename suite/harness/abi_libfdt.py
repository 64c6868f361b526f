# SPDX-License-Identifier: GPL-2.0-only
"""libfdt, which the kernel makes and reads its device trees with: an encoder and a judge for tests.

Debian's QEMU depends on it, so it is there wherever this suite runs, and nothing has to be compiled.
"""

import ctypes
from collections.abc import Mapping
from ctypes import POINTER, byref, c_char_p, c_int, c_void_p, string_at

_lib = ctypes.CDLL("libfdt.so.1")
for _name in ("fdt_getprop_by_offset", "fdt_get_name"):
    getattr(_lib, _name).restype = c_void_p
_lib.fdt_getprop_by_offset.argtypes = (c_void_p, c_int, POINTER(c_char_p), POINTER(c_int))
_lib.fdt_get_name.argtypes = (c_void_p, c_int, POINTER(c_int))

# name -> value of a property, or the node below
Content = Mapping[str, "bytes | Content"]


def build(content: Content, room: int = 4096) -> bytes:
    """A tree with ``content`` in its root, made the way kho_out_fdt_setup() does it."""
    buffer = ctypes.create_string_buffer(room)
    for done in (
        _lib.fdt_create(buffer, room),
        _lib.fdt_finish_reservemap(buffer),
        _lib.fdt_begin_node(buffer, b""),
    ):
        assert done == 0
    _fill(buffer, content)
    assert _lib.fdt_end_node(buffer) == 0
    assert _lib.fdt_finish(buffer) == 0
    return buffer.raw[: int.from_bytes(buffer.raw[4:8], "big")]


def _fill(buffer: "ctypes.Array[ctypes.c_char]", content: Content) -> None:
    # Properties come before nodes in the format.
    for name, value in content.items():
        if isinstance(value, bytes):
            assert _lib.fdt_property(buffer, name.encode(), value, len(value)) == 0
    for name, value in content.items():
        if not isinstance(value, bytes):
            assert _lib.fdt_begin_node(buffer, name.encode()) == 0
            _fill(buffer, value)
            assert _lib.fdt_end_node(buffer) == 0


def accepts(blob: bytes) -> bool:
    """Whether all of it holds together, by fdt_check_full()."""
    return bool(_lib.fdt_check_full(ctypes.create_string_buffer(blob, len(blob)), len(blob)) == 0)


def read(blob: bytes) -> Content:
    """The root's content; only for what accepts() accepts."""
    buffer = ctypes.create_string_buffer(blob, len(blob))
    return _content(buffer, 0)


def _content(buffer: "ctypes.Array[ctypes.c_char]", node: int) -> Content:
    content: dict[str, bytes | Content] = {}
    at = _lib.fdt_first_property_offset(buffer, node)
    while at >= 0:
        name, length = c_char_p(), c_int()
        value = _lib.fdt_getprop_by_offset(buffer, at, byref(name), byref(length))
        assert name.value is not None
        content[name.value.decode(errors="backslashreplace")] = string_at(value, length.value)
        at = _lib.fdt_next_property_offset(buffer, at)
    child = _lib.fdt_first_subnode(buffer, node)
    while child >= 0:
        length = c_int()
        start = _lib.fdt_get_name(buffer, child, byref(length))
        name_bytes = string_at(start, length.value)
        content[name_bytes.decode(errors="backslashreplace")] = _content(buffer, child)
        child = _lib.fdt_next_subnode(buffer, child)
    return content
