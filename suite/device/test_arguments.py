# SPDX-License-Identifier: GPL-2.0-only
"""What an ioctl's argument may be: its size, what lies behind it, where it lies.

The rules are in rules.py, the calls in calls.py. GET_NAME is younger than the others: it has its own clause.
"""

from collections.abc import Callable

import pytest

from fixtures.luo import PAGE, Luo
from fixtures.scenario import KEXEC
from suite.device import rules
from suite.device.calls import HERE, NEXT, Call, Maker, name_of_new, name_of_retrieved, send
from suite.scenario import Scenario

here = pytest.mark.parametrize("call", HERE, ids=lambda call: call.__name__.replace("_", "-"))
in_next = pytest.mark.parametrize("call", NEXT, ids=lambda call: call.__name__.replace("_", "-"))

LARGER = (80, PAGE)  # sizes of arguments
BORDERS = (1, rules.WORD, 6, 15)  # inside of the size word, behind it, inside of the next field, near an end
LATER_SIZES = (0, rules.WORD, rules.LARGEST)


@pytest.mark.clause("ioctl.size.too-small")
@here
def test_short_argument_is_refused(luo: Luo, call: Maker) -> None:
    rules.short_argument_is_refused(call(luo))


@pytest.mark.clause("ioctl.size.too-small")
@in_next
def test_short_argument_is_refused_in_the_next_kernel(luo: Luo, call: Maker) -> Scenario:
    send(luo)

    luo = yield KEXEC

    rules.short_argument_is_refused(call(luo))


@pytest.mark.clause("ioctl.size.zero-tail")
@here
def test_longer_argument_with_a_tail_of_zeros_is_accepted(luo: Luo, call: Maker) -> None:
    for size in LARGER:
        rules.zeros_behind_the_struct_are_accepted(call(luo), size)


@pytest.mark.clause("ioctl.size.zero-tail")
@pytest.mark.parametrize("size", LARGER)
@in_next
def test_longer_argument_is_accepted_in_the_next_kernel(luo: Luo, call: Maker, size: int) -> Scenario:
    send(luo)

    luo = yield KEXEC

    rules.zeros_behind_the_struct_are_accepted(call(luo), size)


@pytest.mark.clause("ioctl.size.tail")
@here
def test_longer_argument_with_something_in_its_tail_is_refused(luo: Luo, call: Maker) -> None:
    rules.something_behind_the_struct_is_refused(call(luo))


@pytest.mark.clause("ioctl.size.tail")
@in_next
def test_argument_with_an_unknown_tail_is_refused_in_the_next_kernel(luo: Luo, call: Maker) -> Scenario:
    send(luo)

    luo = yield KEXEC

    rules.something_behind_the_struct_is_refused(call(luo))


@pytest.mark.clause("ioctl.read-once")
@here
def test_size_that_changes_during_the_call_counts_as_first_read(luo: Luo, call: Maker) -> None:
    for size in LATER_SIZES:
        rules.size_counts_as_first_read(call(luo), size)


@pytest.mark.clause("ioctl.read-once")
@pytest.mark.parametrize("size", LATER_SIZES[1:])
@in_next
def test_size_counts_as_first_read_in_the_next_kernel(luo: Luo, call: Maker, size: int) -> Scenario:
    send(luo)

    luo = yield KEXEC

    rules.size_counts_as_first_read(call(luo), size)


@pytest.mark.clause("ioctl.fault")
@here
def test_unreadable_argument_is_refused(luo: Luo, call: Maker) -> None:
    rules.unreadable_argument_is_refused(call(luo))


@pytest.mark.clause("ioctl.fault")
@in_next
def test_unreadable_argument_is_refused_in_the_next_kernel(luo: Luo, call: Maker) -> Scenario:
    send(luo)

    luo = yield KEXEC

    rules.unreadable_argument_is_refused(call(luo))


@pytest.mark.clause("ioctl.fault")
@here
def test_argument_may_cross_pages(luo: Luo, call: Maker) -> None:
    for before in BORDERS:
        rules.argument_may_cross_pages(call(luo), before)


@pytest.mark.clause("ioctl.fault")
@in_next
def test_argument_may_cross_pages_in_the_next_kernel(luo: Luo, call: Maker) -> Scenario:
    send(luo)

    luo = yield KEXEC

    rules.argument_may_cross_pages(call(luo), rules.WORD)


def check_get_name(make: Callable[[], Call]) -> None:
    """All rules; GET_NAME changes nothing, so that the same session serves them all."""
    rules.short_argument_is_refused(make())
    for size in LARGER:
        rules.zeros_behind_the_struct_are_accepted(make(), size)
    rules.something_behind_the_struct_is_refused(make())
    rules.unreadable_argument_is_refused(make())
    for before in BORDERS:
        rules.argument_may_cross_pages(make(), before)
    rules.unwritable_answer_is_refused(make())
    for size in LATER_SIZES:
        rules.size_counts_as_first_read(make(), size)


@pytest.mark.clause("ioctl.get-name")
def test_get_name_keeps_to_the_rules_on_a_new_session(luo: Luo) -> None:
    call = name_of_new(luo)
    check_get_name(lambda: call)


@pytest.mark.clause("ioctl.get-name")
def test_get_name_keeps_to_the_rules_on_a_retrieved_session(luo: Luo) -> Scenario:
    send(luo)

    luo = yield KEXEC

    call = name_of_retrieved(luo)
    check_get_name(lambda: call)
