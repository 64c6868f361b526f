# SPDX-License-Identifier: GPL-2.0-only
"""A hypothesis state machine that lives the lives of sessions and files, in the model only.

Each of its lives becomes a script; whether the kernel agrees is asked later, of many scripts at once, so that
they share their handovers.
"""

from collections.abc import Collection
from typing import ClassVar

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fixtures import model
from fixtures.model import PAGE, Script, Step, World

MOST_HANDOVERS = 2
CALLS = 30

NAMES = ("a", "b", "c" * 40)
names = st.sampled_from(NAMES)
tokens = st.sampled_from([0, 1, 2**64 - 1])
sizes = st.sampled_from([0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 17])
offsets = st.sampled_from([0, 1, PAGE - 7, PAGE, 2 * PAGE, 2 * PAGE + 10])
lengths = st.sampled_from([1, 7])  # from no offset into a second page
seals = st.sets(st.sampled_from(sorted(model.SEALS)), min_size=1, max_size=2).map(sum)


class Lives(RuleBasedStateMachine):
    """One life: calls, legal or not, at random, up to two handovers, and in the end a look at everything."""

    promised: ClassVar[frozenset[str]]
    lived: ClassVar[dict[Script, None]]  # in order, and each once

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.steps: list[Step] = []
        self.handovers = 0

    def take(self, step: Step) -> None:
        if model.asked(step, self.world, self.promised):
            self.steps.append(step)
            model.take(step, self.world)
            file = getattr(step, "new", None) or getattr(step, "file", None)
            if file in self.world.files and not isinstance(step, model.Look):
                self.take(model.Look(file))

    def new(self) -> str:
        return f"v{len(self.steps)}"

    def session(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.world.sessions)))

    def file(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.world.files)))

    @initialize(size=sizes, some=st.just(0) | seals, position=offsets, token=tokens)
    def begin(self, size: int, some: int, position: int, token: int) -> None:
        """With something that can be lost."""
        self.take(model.NewFile("f", size, 0, True))
        self.take(model.Seal("f", some))
        self.take(model.Seek("f", position))
        self.take(model.Create("s", NAMES[0]))
        self.take(model.Preserve("s", "f", token))

    @rule(name=names)
    def create(self, name: str) -> None:
        self.take(model.Create(self.new(), name))

    @rule(name=names)
    def retrieve_session(self, name: str) -> None:
        self.take(model.RetrieveSession(self.new(), name))

    @precondition(lambda self: self.world.sessions and self.world.files)
    @rule(data=st.data(), token=tokens)
    def preserve(self, data: st.DataObject, token: int) -> None:
        self.take(model.Preserve(self.session(data), self.file(data), token))

    @precondition(lambda self: self.world.sessions)
    @rule(data=st.data())
    def retrieve(self, data: st.DataObject) -> None:
        session = self.session(data)
        known = sorted(self.world.sessions[session].entries)
        token = data.draw(st.sampled_from(known) | tokens if known else tokens)
        self.take(model.Retrieve(self.new(), session, token))

    @precondition(lambda self: self.world.sessions)
    @rule(data=st.data(), close=st.booleans())
    def finish_or_close(self, data: st.DataObject, close: bool) -> None:
        session = self.session(data)
        self.take(model.GetName(session))
        self.take(model.CloseSession(session) if close else model.Finish(session))

    @precondition(lambda self: self.world.sessions)
    @rule(data=st.data(), token=tokens, nothing=st.booleans())
    def blunder(self, data: st.DataObject, token: int, nothing: bool) -> None:
        session = self.session(data)
        self.take(model.CreateNameless())
        self.take(model.PreserveNothing(session, token) if nothing else model.PreserveItself(session, token))

    @rule(size=sizes, sealable=st.sampled_from([True, True, False]))
    def new_file(self, size: int, sealable: bool) -> None:
        self.take(model.NewFile(self.new(), size, len(self.steps), sealable))

    @precondition(lambda self: self.world.files)
    @rule(data=st.data(), dup=st.booleans())
    def open_again(self, data: st.DataObject, dup: bool) -> None:
        file = self.file(data)
        self.take(model.Dup(self.new(), file) if dup else model.Reopen(self.new(), file))

    @precondition(lambda self: self.world.files)
    @rule(data=st.data())
    def close_file(self, data: st.DataObject) -> None:
        self.take(model.CloseFile(self.file(data)))

    @precondition(lambda self: self.world.files)
    @rule(data=st.data(), offset=offsets, length=lengths, hole=st.booleans())
    def write(self, data: st.DataObject, offset: int, length: int, hole: bool) -> None:
        file = self.file(data)
        if hole:
            self.take(model.Punch(file, offset, length * (PAGE - 3)))
        else:
            self.take(model.Write(file, offset, length, len(self.steps)))

    @precondition(lambda self: self.world.files)
    @rule(data=st.data(), size=sizes)
    def truncate(self, data: st.DataObject, size: int) -> None:
        self.take(model.Truncate(self.file(data), size))

    @precondition(lambda self: self.world.files)
    @rule(data=st.data(), some=seals)
    def seal(self, data: st.DataObject, some: int) -> None:
        self.take(model.Seal(self.file(data), some))

    @precondition(lambda self: self.world.files)
    @rule(data=st.data(), position=offsets)
    def seek(self, data: st.DataObject, position: int) -> None:
        self.take(model.Seek(self.file(data), position))

    @rule(step=st.sampled_from([model.OpenDevice(), model.CloseDevice()]))
    def device(self, step: Step) -> None:
        self.take(step)

    @precondition(lambda self: self.handovers < MOST_HANDOVERS and self.world.outgoing)
    @rule()
    def hand_over(self) -> None:
        self.handovers += 1
        self.take(model.Handover())

    def teardown(self) -> None:
        if self.handovers < MOST_HANDOVERS and self.world.outgoing:
            self.take(model.Handover())
        for step in list(model.claims(self.world)):
            self.take(step)
        self.lived[Script(tuple(self.steps), self.promised)] = None


def scripts(number: int, many: int, promised: Collection[str]) -> list[Script]:
    """About ``many`` scripts, which the seed ``number`` determines; of some that are alike there is one."""

    class Wanted(Lives):
        pass

    Wanted.promised = frozenset(promised)
    Wanted.lived = {}
    run_state_machine_as_test(
        seed(number)(Wanted),
        settings=settings(
            max_examples=many,
            stateful_step_count=CALLS,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    return list(Wanted.lived)
