# SPDX-License-Identifier: GPL-2.0-only
"""The model of sessions and files, and the scripts that are made with it."""

import os
import subprocess
import sys
from collections.abc import Sequence
from errno import EBUSY, EEXIST, EINVAL, ENOENT, EPERM
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures import model
from fixtures.agent.pattern import pattern
from fixtures.model import (
    EXCLUSIONS,
    PAGE,
    CloseSession,
    Content,
    Create,
    CreateNameless,
    Dup,
    Finish,
    GetName,
    Handover,
    Look,
    NewFile,
    OpenDevice,
    Piece,
    Preserve,
    PreserveItself,
    PreserveNothing,
    Reopen,
    Retrieve,
    RetrieveSession,
    Script,
    Seal,
    Seek,
    Step,
    Truncate,
    World,
    Write,
)
from kernel import uapi
from suite.clauses import catalogue
from suite.harness.nested import run
from suite.stress.lives import scripts

ROOT = Path(__file__).parents[2]
EVERYTHING = frozenset(catalogue.load())

pieces = st.builds(Piece, st.integers(1, 50), st.none() | st.integers(0, 3))
contents = st.lists(pieces, max_size=4).map(
    lambda some: Content().overwritten(0, Piece(0)) if not some else joined(some)
)


def joined(some: Sequence[Piece]) -> Content:
    content = Content()
    for piece in some:
        content = content.overwritten(content.size, piece)
    return content


@given(contents, st.integers(0, 250), st.integers(0, 250))
def test_content_is_cut_as_bytes_are(content: Content, one: int, other: int) -> None:
    begin, end = sorted((one, other))
    assert content.cut(begin, end).data == content.data.ljust(end, b"\0")[begin:end]


@given(contents, st.integers(0, 250), pieces)
def test_content_is_overwritten_as_bytes_are(content: Content, offset: int, piece: Piece) -> None:
    data = bytearray(content.data.ljust(offset, b"\0"))
    data[offset : offset + piece.length] = piece.data
    assert content.overwritten(offset, piece).data == data


@given(contents)
def test_content_says_itself_in_python(content: Content) -> None:
    assert eval(str(content), {"pattern": pattern}) == content.data


def answers(*steps: Step) -> list[set[int]]:
    """What is right for each of the steps, all of which are asked."""
    world = World()
    told = []
    for step in steps:
        assert model.asked(step, world, EVERYTHING), step
        told.append(model.take(step, world))
    return told


FILE = NewFile("f", 10, 1, True)
SESSION = Create("s", "a")
ARRIVED = (FILE, SESSION, Preserve("s", "f", 7), Handover(), RetrieveSession("s", "a"))


@pytest.mark.parametrize(
    ("steps", "last"),
    [
        ((SESSION, Create("t", "a")), {EEXIST}),
        ((SESSION, CloseSession("s"), Create("t", "a")), set()),
        ((CreateNameless(),), {EINVAL}),
        ((SESSION, RetrieveSession("t", "a")), {ENOENT}),
        ((SESSION, Finish("s")), {EINVAL}),
        ((SESSION, FILE, Preserve("s", "f", 1), Retrieve("g", "s", 1)), {EINVAL}),
        ((SESSION, FILE, Retrieve("g", "s", 1)), {EINVAL, ENOENT}),
        ((SESSION, FILE, Preserve("s", "f", 1), Preserve("s", "f", 2)), {EBUSY}),
        ((SESSION, FILE, Preserve("s", "f", 1), Preserve("s", "f", 1)), {EBUSY, EEXIST}),
        ((SESSION, FILE, Preserve("s", "f", 1), Dup("g", "f"), Preserve("s", "g", 2)), {EBUSY}),
        ((SESSION, FILE, Preserve("s", "f", 1), Reopen("g", "f"), Preserve("s", "g", 2)), {EBUSY}),
        ((SESSION, FILE, Preserve("s", "f", 1), Truncate("f", 9)), {EPERM}),
        ((SESSION, FILE, Preserve("s", "f", 1), Truncate("f", 10)), set()),
        ((SESSION, FILE, Preserve("s", "f", 1), Write("f", 4, 7, 0)), {EPERM}),
        ((SESSION, FILE, Preserve("s", "f", 1), Write("f", 3, 7, 0)), set()),
        ((SESSION, FILE, Preserve("s", "f", 1), CloseSession("s"), Truncate("f", 9)), set()),
        ((FILE, Seal("f", uapi.F_SEAL_SHRINK), Truncate("f", 9)), {EPERM}),
        ((FILE, Seal("f", uapi.F_SEAL_SHRINK), Truncate("f", 11)), set()),
        ((FILE, Seal("f", uapi.F_SEAL_SEAL), Seal("f", uapi.F_SEAL_GROW)), {EPERM}),
        ((OpenDevice(),), set()),
        ((SESSION, OpenDevice()), {EBUSY}),
        ((*ARRIVED, RetrieveSession("t", "a")), {EINVAL}),
        ((*ARRIVED, CloseSession("s"), RetrieveSession("t", "a")), {ENOENT}),
        ((*ARRIVED, Handover(), RetrieveSession("s", "a")), {ENOENT}),
        ((*ARRIVED, Create("t", "a")), set()),
        ((*ARRIVED, Retrieve("f", "s", 8)), {ENOENT}),
        ((*ARRIVED, Retrieve("f", "s", 7), Retrieve("g", "s", 7)), set()),
        ((*ARRIVED, Finish("s"), Retrieve("f", "s", 7)), {ENOENT}),
        ((*ARRIVED, Retrieve("f", "s", 7), Create("t", "b"), Preserve("t", "f", 1)), {EBUSY}),
        ((*ARRIVED, Retrieve("f", "s", 7), Finish("s"), Create("t", "b"), Preserve("t", "f", 1)), set()),
        ((*ARRIVED, NewFile("g", 0, 0, True), Preserve("s", "g", 1)), {EINVAL}),
        ((*ARRIVED, PreserveItself("s", 7)), {EINVAL, EEXIST, ENOENT}),
    ],
    ids=str,
)
def test_last_answer_is_right(steps: tuple[Step, ...], last: set[int]) -> None:
    assert answers(*steps)[-1] == last


def test_position_is_of_the_open_file_and_content_of_the_inode() -> None:
    world = World()
    steps = (FILE, Dup("d", "f"), Reopen("r", "f"), Seek("d", 5), Write("r", 0, 2, 9))
    for step in (
        *steps,
        SESSION,
        Preserve("s", "f", 1),
        Handover(),
        RetrieveSession("s", "a"),
        Retrieve("f", "s", 1),
    ):
        model.take(step, world)
    file = world.files["f"]
    assert file.position == 5
    assert file.inode.content.data == pattern(2, 9) + pattern(8, 1, 2)


# What is left out


def test_exclusions_name_clauses_of_the_catalogue() -> None:
    assert {exclusion.clause for exclusion in EXCLUSIONS} - {None} <= EVERYTHING


def test_late_seal_is_not_asked() -> None:
    script = Script((FILE, SESSION, Preserve("s", "f", 1), Seal("f", uapi.F_SEAL_GROW)), EVERYTHING)
    assert "add_seals" not in script.source()


@pytest.mark.parametrize(
    ("clause", "steps", "left_out"),
    [
        ("session.get-name", (SESSION, GetName("s")), "get_name"),
        ("session.name.empty", (CreateNameless(),), "create_session"),
        ("session.type", (SESSION, Finish("s")), "finish"),
        ("file.preserve.twice", (SESSION, FILE, Preserve("s", "f", 1), Preserve("s", "f", 2)), "token=2"),
        ("memfd.seals", (SESSION, NewFile("f", 1, 1, False), Preserve("s", "f", 1)), "preserve"),
    ],
)
def test_what_a_release_does_not_promise_is_not_asked(
    clause: str, steps: tuple[Step, ...], left_out: str
) -> None:
    assert left_out in Script(steps, EVERYTHING).source()
    assert left_out not in Script(steps, EVERYTHING - {clause}).source()


# Scripts


def test_script_is_printed_as_a_test() -> None:
    script = Script((*ARRIVED, Retrieve("g", "s", 7), Look("g"), PreserveNothing("s", 7)), EVERYTHING).tidy()
    assert script.source() == model.HEAD + (
        "def test_script(luo: Luo) -> Scenario:\n"
        "    f1 = luo.memfd(pattern(10, 1))\n"
        '    s1 = luo.create_session("a")\n'
        "    s1.preserve(f1, token=7)\n"
        "\n"
        "    luo = yield KEXEC\n"
        "\n"
        '    s2 = luo.retrieve_session("a")\n'
        "    f2 = s2.retrieve(7)\n"
        "    expect(f2, position=0, seals=0, content=pattern(10, 1))\n"
        "    with refused(EBADF, EEXIST, EINVAL):\n"
        "        s2.preserve(Memfd(luo.actor, -1), token=7)\n"
    )


def test_seed_determines_the_scripts() -> None:
    code = (
        "from suite.stress.lives import scripts; from suite.clauses import catalogue;"
        "print(*(script.source() for script in scripts({}, 20, catalogue.load())))"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code.format(seed)],
            cwd=ROOT, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": chaos},
        ).stdout
        for seed, chaos in ((1, "1"), (1, "2"), (2, "1"))
    ]  # fmt: skip
    assert told[0] == told[1] != told[2]


def test_scripts_ask_of_everything() -> None:
    kinds = {type(step) for script in scripts(1, 60, EVERYTHING) for step in script.steps}
    assert kinds == set(Step.__subclasses__())


def test_every_script_is_python_and_stays_as_it_is_when_tidied() -> None:
    for script in scripts(1, 20, EVERYTHING):
        compile(script.source(), "script", "exec")
        assert script.tidy().tidy() == script.tidy()
        assert [type(step) for step in script.tidy().steps] == [type(step) for step in script.steps]


def test_shrinking_leaves_what_matters() -> None:
    def shows_it(script: Script) -> bool:
        """A file of more than a page arrived with a seal."""
        return any(
            isinstance(step, Look)
            and (file := world.files[step.file]).inode.held
            and file.inode.content.size > PAGE
            and file.inode.seals & uapi.F_SEAL_GROW
            for step, world in script.played()
        )

    def find(candidates: Sequence[Script]) -> list[int]:
        return [at for at, candidate in enumerate(candidates) if shows_it(candidate)]

    first = next(script for script in scripts(1, 300, EVERYTHING) if shows_it(script))
    least = model.shrink(first, find, shows_it, 60)
    assert [type(step) for step in least.steps] == [
        NewFile, Seal, Create, Preserve, Handover, RetrieveSession, Retrieve, Look
    ]  # fmt: skip


def test_shrinking_ends_after_its_rounds() -> None:
    rounds = []

    def find(candidates: Sequence[Script]) -> list[int]:
        rounds.append(candidates)
        return [len(candidates) - 1]

    model.shrink(scripts(1, 20, EVERYTHING)[-1], find, lambda script: True, 3)
    assert len(rounds) == 3


def test_shrinking_trusts_only_what_fails_alone() -> None:
    script = scripts(1, 20, EVERYTHING)[-1].tidy()
    assert model.shrink(script, lambda some: list(range(len(some))), lambda script: False, 60) == script


# The soak


def test_soak_is_left_out_unless_asked_for(tmp_path: Path) -> None:
    code = """
    @pytest.mark.soak
    def test_long(): pass
    def test_short(): pass
    """
    assert set(run(tmp_path / "without", code).verdicts) == {"test_short"}
    assert set(run(tmp_path / "with", code, "--soak").verdicts) == {"test_long", "test_short"}
