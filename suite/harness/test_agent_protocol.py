# SPDX-License-Identifier: GPL-2.0-only
"""The codec: whatever bytes come, there is a frame, a ChannelBroken, or more to wait for."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.agent.errors import ChannelBroken
from fixtures.agent.protocol import (
    ANNOUNCEMENTS,
    MAX_PAYLOAD,
    MAX_SKIP,
    SYNC,
    VERSION,
    Decoder,
    Frame,
    Hello,
    Type,
)

WORD = st.integers(0, 0xFFFFFFFF)
FRAMES = st.builds(Frame, st.sampled_from(Type), WORD, WORD, st.binary(max_size=300), WORD)
HELLO = Hello(VERSION, 4096, 45, 46, 1_863_589_427, "x86_64", "7.3.4", "7a7c6b6c-ff83")
GREETING = Frame(Type.HELLO, payload=HELLO.encode())


def decode_all(data: bytes, searching: bool = False) -> list[Frame]:
    decoder = Decoder()
    decoder.feed(data)
    frames = []
    while frame := decoder.next(searching):
        frames.append(frame)
    return frames


@given(st.lists(FRAMES, max_size=5), st.lists(st.integers(1, 400), max_size=20))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(
    frames: list[Frame], cuts: list[int]
) -> None:
    stream = b"".join(frame.encode() for frame in frames)
    decoder = Decoder()
    got = []
    for size in [*cuts, len(stream)]:
        decoder.feed(stream[:size])
        stream = stream[size:]
        while frame := decoder.next():
            got.append(frame)
    assert got == frames
    assert decoder.pending == b""


@given(st.binary(max_size=2000))
def test_random_bytes_are_refused_or_waited_on(data: bytes) -> None:
    with contextlib.suppress(ChannelBroken):
        assert decode_all(data) == []


@given(FRAMES, st.data())
def test_a_flipped_bit_is_always_noticed(frame: Frame, data: st.DataObject) -> None:
    encoded = bytearray(frame.encode())
    bit = data.draw(st.integers(0, len(encoded) * 8 - 1))
    encoded[bit // 8] ^= 1 << bit % 8
    if frame.type in ANNOUNCEMENTS and bit < 2 * len(SYNC) * 8:
        # Of the two one is whole. When it is the first, it is followed by something that is no frame.
        with contextlib.suppress(ChannelBroken):
            assert decode_all(bytes(encoded)) == [frame]
        return
    with pytest.raises(ChannelBroken):
        decode_all(bytes(encoded))


@given(FRAMES, st.data())
def test_a_truncated_frame_is_waited_on(frame: Frame, data: st.DataObject) -> None:
    encoded = frame.encode()
    size = data.draw(st.integers(0, len(encoded) - 1))
    assert decode_all(encoded[:size]) == []


@given(st.binary(max_size=500), st.lists(FRAMES, max_size=3), st.lists(st.integers(1, 200), max_size=20))
def test_a_hello_is_found_after_any_noise(noise: bytes, old: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(frame.encode() for frame in old if frame.type not in ANNOUNCEMENTS) + noise
    stream += GREETING.encode()
    decoder = Decoder()
    got = []
    for size in [*cuts, len(stream)]:
        decoder.feed(stream[:size])
        stream = stream[size:]
        while frame := decoder.next(searching=True):
            got.append(frame)
    assert got[-1] == GREETING


# The full stop keeps the greeting's first bytes from making the frame whole: that has a test of its own.
@given(st.binary(min_size=200, max_size=2000).map(lambda payload: payload + b"."), st.data())
@settings(max_examples=200)
def test_a_hello_is_found_inside_a_torn_frame(payload: bytes, data: st.DataObject) -> None:
    torn = Frame(Type.REPLY, 1, 2, payload).encode()
    torn = torn[: data.draw(st.integers(1, len(torn) - 1))]
    decoder = Decoder()
    stream = torn + GREETING.encode()
    cut = data.draw(st.integers(0, len(stream)))
    decoder.feed(stream[:cut])
    first = decoder.next(searching=True)
    decoder.feed(stream[cut:])
    assert (first or decoder.next(searching=True)) == GREETING
    assert bytes(decoder.skipped) == torn


@pytest.mark.parametrize("missing", range(1, len(SYNC) + 1))
def test_a_hello_is_found_although_its_first_bytes_complete_a_torn_frame(missing: int) -> None:
    old = Frame(Type.REPLY, 1, 2, b"result" + SYNC[:missing])
    assert decode_all(old.encode()[:-missing] + GREETING.encode(), searching=True) == [old, GREETING]


def test_a_machine_that_never_greets_ends_the_search() -> None:
    decoder = Decoder()
    decoder.feed(bytes(MAX_SKIP + 1))
    with pytest.raises(ChannelBroken, match="no agent greets"):
        decoder.next(searching=True)


def test_a_payload_that_is_too_long_is_refused_before_it_is_sent() -> None:
    assert Frame(Type.RUN, payload=bytes(MAX_PAYLOAD)).encode()
    with pytest.raises(ValueError, match="do not fit"):
        Frame(Type.RUN, payload=bytes(MAX_PAYLOAD + 1)).encode()


@given(st.binary(max_size=100))
def test_a_malformed_hello_is_refused(payload: bytes) -> None:
    with pytest.raises(ChannelBroken):
        Hello.decode(payload)
    assert Hello.decode(HELLO.encode()) == HELLO


@given(st.integers(0, 23))
def test_a_truncated_hello_is_refused(size: int) -> None:
    with pytest.raises(ChannelBroken):
        Hello.decode(HELLO.encode()[:size])


def test_the_broken_bytes_are_shown() -> None:
    with pytest.raises(ChannelBroken, match=r"4b 65 72 6e 65 6c .*Kernel panic"):
        decode_all(b"Kernel panic - not syncing")
