# SPDX-License-Identifier: GPL-2.0-only
"""Pattern and hash: the agent and Python have the same bytes."""

import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fixtures.agent import local
from fixtures.agent.client import Actor
from fixtures.agent.pattern import pattern

PAGE = 4096
BIG = 64 << 20
SEEDS = st.integers(0, 2**64 - 1)


@pytest.fixture(scope="module")
def actor() -> Iterator[Actor]:
    with local.running() as here:
        yield here.agent.main


def digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def test_sixty_four_mebibytes_are_the_same_on_both_sides(actor: Actor) -> None:
    program = actor.program()
    fd = program.syscall("memfd_create", "big", 0)
    program.syscall("ftruncate", fd, BIG)
    mapped = program.syscall("mmap", 0, BIG, 3, 1, fd, 0)
    program.fill(mapped, BIG, 11, 12345)
    same = program.check(mapped, BIG, 11, 12345)
    hashed = program.hash(mapped, BIG)
    program.store(mapped + (BIG - 3), 0, size=1)
    other = program.check(mapped, BIG, 11, 12345)
    program.syscall("munmap", mapped, BIG)
    program.syscall("close", fd)
    results = actor.run(program)
    here = pattern(BIG, 11, 12345)
    assert results[same] == -1
    assert results.bytes(hashed) == digest(here)
    assert here[BIG - 3] != 0
    assert results[other] == BIG - 3


@given(st.integers(0, 3 * PAGE), SEEDS, st.integers(0, 2**50), st.integers(0, 40))
@example(length=PAGE, seed=1, start=2**50 + 5, shift=0)
@settings(max_examples=200)
def test_any_piece_is_the_same_on_both_sides(
    actor: Actor, length: int, seed: int, start: int, shift: int
) -> None:
    program = actor.program()
    memory = program.buffer(length + shift, out=True)
    program.fill(memory + shift, length, seed, start)
    same = program.check(memory + shift, length, seed, start)
    hashed = program.hash(memory + shift, length)
    results = actor.run(program)
    here = pattern(length, seed, start)
    assert results.bytes(memory) == bytes(shift) + here
    assert results[same] == -1
    assert results.bytes(hashed) == digest(here)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 129, 255, 256, 257, 4096])
def test_the_hash_is_blake2b_at_its_block_borders(actor: Actor, length: int) -> None:
    data = bytes(i * 7 & 0xFF for i in range(length))
    program = actor.program()
    hashed = program.hash(program.buffer(data), length)
    assert actor.run(program).bytes(hashed) == digest(data)


@given(st.integers(1, 3 * PAGE), SEEDS, st.data())
@settings(max_examples=100)
def test_one_other_byte_is_found_where_it_is(
    actor: Actor, length: int, seed: int, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, length - 1))
    wrong = bytearray(pattern(length, seed))
    wrong[at] ^= data.draw(st.integers(1, 255))
    program = actor.program()
    found = program.check(program.buffer(bytes(wrong)), length, seed)
    assert actor.run(program)[found] == at


@given(st.integers(0, 2**40), st.integers(1, 2**40), SEEDS)
def test_a_piece_is_the_piece_of_a_longer_one(start: int, skip: int, seed: int) -> None:
    whole = pattern(3 * PAGE, seed, start)
    at = skip % (2 * PAGE)
    assert pattern(PAGE, seed, start + at) == whole[at : at + PAGE]


def test_no_two_pages_are_equal_and_no_shift_matches() -> None:
    data = pattern(1 << 20)
    pages = {data[at : at + PAGE] for at in range(0, len(data), PAGE)}
    assert len(pages) == len(data) // PAGE
    for shift in (1, 8, 64, PAGE, 2 * PAGE, 512 * 1024):
        equal = sum(a == b for a, b in zip(data, data[shift:], strict=False))
        assert equal / (len(data) - shift) < 0.01, shift
    assert pattern(PAGE, 1) != pattern(PAGE, 2) != pattern(PAGE, 1, PAGE)
