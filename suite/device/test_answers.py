# SPDX-License-Identifier: GPL-2.0-only
"""Answers that cannot be written: the call has failed, so nothing may be lost, and nothing left behind.

The caller dies over the answer where the memory waits for it (userfaultfd) and a SIGKILL comes instead.
"""

import pytest

from fixtures.luo import Luo
from fixtures.scenario import KEXEC
from fixtures.userfault import WatchedPages
from suite.device import rules
from suite.device.calls import Call, create, finish, preserve, retrieve_file, retrieve_session, send
from suite.scenario import Scenario


def caller_is_killed(luo: Luo, call: Call) -> None:
    """Another process makes the call and is killed when its answer is being written."""
    caller = luo.actor.fork()
    memory = WatchedPages(caller, 1, missing=False)
    memory.write(memory.watched, call.argument)
    memory.protect()
    program = caller.program()
    program.syscall("ioctl", call.file.fd, call.number, memory.watched)
    thread = caller.thread()
    thread.start(program)
    memory.wait()
    caller.kill()
    call.undone()


@pytest.mark.clause("ioctl.answer.create")
def test_create_that_cannot_answer_leaves_no_session(luo: Luo) -> None:
    rules.unwritable_answer_is_refused(create(luo))


@pytest.mark.clause("ioctl.answer.create")
def test_create_whose_caller_dies_leaves_no_session(luo: Luo) -> None:
    caller_is_killed(luo, create(luo))


@pytest.mark.clause("ioctl.answer.preserve")
def test_preserve_that_cannot_answer_leaves_nothing_preserved(luo: Luo) -> None:
    rules.unwritable_answer_is_refused(preserve(luo))


@pytest.mark.clause("ioctl.answer.retrieve-session")
def test_session_whose_retrieval_cannot_answer_is_not_lost(luo: Luo) -> Scenario:
    send(luo)

    luo = yield KEXEC

    rules.unwritable_answer_is_refused(retrieve_session(luo))


@pytest.mark.clause("ioctl.answer.retrieve-session")
def test_session_whose_retriever_dies_is_not_lost(luo: Luo) -> Scenario:
    send(luo)

    luo = yield KEXEC

    caller_is_killed(luo, retrieve_session(luo))


@pytest.mark.clause("ioctl.answer.retrieve-file")
def test_file_whose_retrieval_cannot_answer_is_retrieved_again(luo: Luo) -> Scenario:
    send(luo)

    luo = yield KEXEC

    rules.unwritable_answer_is_refused(retrieve_file(luo))


@pytest.mark.clause("ioctl.answer.retrieve-file")
def test_file_whose_retriever_dies_is_retrieved_again(luo: Luo) -> Scenario:
    send(luo)

    luo = yield KEXEC

    caller_is_killed(luo, retrieve_file(luo))


@pytest.mark.clause("ioctl.answer.finish")
def test_finish_that_cannot_answer_finishes_nothing(luo: Luo) -> Scenario:
    send(luo)

    luo = yield KEXEC

    rules.unwritable_answer_is_refused(finish(luo))
