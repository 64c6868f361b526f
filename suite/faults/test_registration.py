# SPDX-License-Identifier: GPL-2.0-only
"""Handlers and FLBs that come and go: what is refused, with which errno, and what it leaves."""

from errno import EEXIST, EINVAL, ENODATA, ENOENT, ENOMEM, ENOSPC, EOPNOTSUPP

import pytest

from fixtures.allocations import Allocations
from fixtures.luo import Luo, refused
from fixtures.provider import Provider
from fixtures.scenario import KEXEC, Kexec
from suite.able import or_skip
from suite.scenario import Scenario

pytestmark = pytest.mark.provider

REQUIRED = ["can_preserve", "preserve", "unpreserve", "retrieve", "finish"]
OPTIONAL = ["freeze", "unfreeze", "can_finish", "get_id"]
FLB_OPS = ["flb_preserve", "flb_unpreserve", "flb_retrieve", "flb_finish"]
MOST_FLBS = 63  # a page, less a header of 16 bytes, in entries of 64 (luo_flb.c, LUO_FLB_MAX)


def works(luo: Luo, provider: Provider, handler: str) -> None:
    """A file of the handler can be preserved, and is unpreserved."""
    session = luo.create_session("works")
    session.preserve(provider.file("works", handler), 1)
    session.close()


def is_apart_until_linked(luo: Luo, provider: Provider) -> None:
    """The FLB "flb" has nothing to do with handler "w", and can be registered with it."""
    works(luo, provider, "w")
    assert provider.called("flb_preserve") == []
    provider.link_flb("flb", "w")
    works(luo, provider, "w")
    assert provider.called("flb_preserve") == ["flb"]
    provider.drop_flb("flb", "w")


# Handlers


@pytest.mark.clause("faults.register.ops")
@pytest.mark.parametrize("op", REQUIRED)
def test_handler_that_lacks_an_operation_is_refused(luo: Luo, op: str) -> None:
    provider = Provider(luo)
    name = provider.name("new")
    with refused(EINVAL):
        provider.do("handler-add", name, name, op)
    # Nothing of it is left: the compatible is free.
    provider.do("handler-add", name, name)
    works(luo, provider, name)
    provider.do("handler-del", name)


@pytest.mark.clause("faults.register.optional")
def test_handler_needs_no_more_than_what_is_required(luo: Luo) -> Scenario:
    provider = Provider(luo)
    name = provider.name("new")
    provider.do("handler-add", name, "luo-cts-scant", *OPTIONAL)
    session = luo.create_session("vm")
    session.preserve(provider.file("one", name, b"one"), 1)

    luo = yield Kexec(cmdline="luo_cts.handlers=a,d")

    provider = Provider(luo)
    provider.do("handler-add", "scant", "luo-cts-scant", *OPTIONAL)
    session = luo.retrieve_session("vm")
    assert provider.content(session.retrieve(1)) == b"one"
    session.finish()
    assert provider.statuses("finish") == {"one": 1}
    assert provider.called(*OPTIONAL) == []


@pytest.mark.clause("faults.register.twice")
@pytest.mark.parametrize("compatible", ["luo-cts-a-v1", "memfd-v2"])
def test_compatible_of_another_handler_is_refused(luo: Luo, compatible: str) -> None:
    provider = Provider(luo)
    name = provider.name("new")
    with refused(EEXIST):
        provider.do("handler-add", name, compatible)
    works(luo, provider, "a")
    session = luo.create_session("ram")
    session.preserve(luo.memfd(b"ram"), 1)
    session.close()


@pytest.mark.clause("faults.unregister")
def test_handler_that_was_taken_back_is_asked_no_more(luo: Luo) -> None:
    provider = Provider(luo)
    name = provider.name("new")
    provider.do("handler-add", name, name)
    works(luo, provider, name)
    provider.do("handler-del", name)
    session = luo.create_session("vm")
    with refused(ENOENT):
        session.preserve(provider.file("one", name), 1)
    assert provider.called("can_preserve") == ["works"]
    # Its compatible is free.
    provider.do("handler-add", name, name)
    session.preserve(provider.file("two", name), 2)
    session.close()
    provider.do("handler-del", name)


@pytest.mark.clause("faults.unregister.files")
def test_files_of_a_handler_that_was_taken_back_are_unpreserved(luo: Luo) -> None:
    provider = Provider(luo)
    name = provider.name("new")
    provider.do("handler-add", name, name)
    session = luo.create_session("vm")
    session.preserve(provider.file("one", name), 1)
    assert provider.owners("handler", [name]) == [1]
    provider.do("handler-del", name)
    session.close()
    assert provider.called("unpreserve") == ["one"]


@pytest.mark.boot("luo_cts.early=memfd-v2")
@pytest.mark.clause("faults.register.twice")
def test_memfd_without_a_handler_of_its_own_is_refused(luo: Luo) -> None:
    """A handler has the compatible already, so that memfd's own cannot register."""
    session = luo.create_session("vm")
    with refused(ENOENT):
        session.preserve(luo.memfd(b"x"), 1)
    session.preserve(Provider(luo).file("one"), 1)
    session.close()


@pytest.mark.boot("liveupdate=off")
@pytest.mark.clause("faults.register.off")
def test_nothing_is_registered_where_live_update_is_off(luo: Luo) -> None:
    provider = Provider(luo)
    name = provider.name("new")
    with refused(EOPNOTSUPP):
        provider.do("handler-add", name, name)
    provider.do("flb-make", name, name)
    # Of a handler that was never registered, so that only this can be the reason.
    with refused(EOPNOTSUPP):
        provider.do("flb-add", "-", name)
    for command in ("flb-get-in", "flb-get-out"):
        with refused(EOPNOTSUPP):
            provider.do(command, name)
    provider.do("flb-del", "-", name)
    provider.do("flb-drop", name)


# FLBs


@pytest.mark.clause("faults.flb.register.linked")
def test_flb_that_the_handler_has_is_refused(luo: Luo) -> None:
    provider = Provider(luo)
    provider.make_flb("flb", "w")
    with refused(EEXIST):
        provider.link_flb("flb", "w")
    provider.link_flb("flb", "v")
    works(luo, provider, "w")
    assert provider.called("flb_preserve", "flb_unpreserve") == ["flb"] * 2
    provider.drop_flb("flb", "w", "v")


@pytest.mark.clause("faults.flb.register.twice")
def test_flb_with_the_compatible_of_another_is_refused(luo: Luo) -> None:
    provider = Provider(luo)
    provider.make_flb("flb", "w")
    provider.do("flb-make", provider.name("other"), provider.name("flb"))
    for handler in ("w", "v"):
        with refused(EEXIST):
            provider.link_flb("other", handler)
    provider.drop_flb("flb", "w")
    provider.link_flb("other", "w")
    works(luo, provider, "w")
    assert provider.called("flb_preserve") == ["other"]
    provider.drop_flb("other", "w")


@pytest.mark.alone
@pytest.mark.clause("faults.flb.register.most")
def test_flb_beyond_the_most_is_refused(luo: Luo) -> Scenario:
    provider = Provider(luo)
    names = [f"flb{number}" for number in range(MOST_FLBS)]
    for name in names:
        provider.make_flb(name, "w")
    provider.do("flb-make", provider.name("more"), provider.name("more"))
    with refused(ENOSPC):
        provider.link_flb("more", "w")
    # One that is there may get another handler.
    provider.link_flb(names[0], "v")
    luo.create_session("vm").preserve(provider.file("one", "w"), 1)
    assert provider.called("flb_preserve") == names

    luo = yield KEXEC

    provider = Provider(luo)
    for name in names:
        provider.make_flb(name, "w")
    assert [provider.flb("get-in", name) for name in names] == names
    for name in names:
        provider.flb("put-in", name)
    luo.retrieve_session("vm").finish()
    assert sorted(provider.called("flb_finish")) == sorted(names)


@pytest.mark.alone
@pytest.mark.warns("liveupdate_register_flb")
@pytest.mark.clause("faults.flb.register.ops")
@pytest.mark.parametrize("op", FLB_OPS)
def test_flb_that_lacks_an_operation_is_refused(luo: Luo, op: str) -> None:
    provider = Provider(luo)
    provider.do("flb-make", provider.name("flb"), provider.name("flb"), op)
    with refused(EINVAL):
        provider.link_flb("flb", "w")


@pytest.mark.alone
@pytest.mark.warns("liveupdate_register_flb")
@pytest.mark.clause("faults.flb.register.handler")
def test_flb_of_a_handler_that_is_not_registered_is_refused(luo: Luo) -> None:
    provider = Provider(luo)
    provider.do("flb-make", provider.name("flb"), provider.name("flb"))
    with refused(EINVAL):
        provider.link_flb("flb", "-")


@pytest.mark.clause("faults.flb.register.memory")
def test_flb_that_could_not_be_registered_can_be(luo: Luo) -> None:
    provider = Provider(luo)
    provider.do("flb-make", provider.name("flb"), provider.name("flb"))
    add = provider.call("flb-add", "w", provider.name("flb"))
    with or_skip():
        assert Allocations(luo.actor).fail_all(add, below=["liveupdate_register_flb"]) == -ENOMEM
    is_apart_until_linked(luo, provider)


@pytest.mark.clause("faults.flb.unregister")
def test_flb_that_was_taken_back_is_left_alone(luo: Luo) -> None:
    provider = Provider(luo)
    provider.make_flb("flb", "w")
    provider.unlink_flb("flb", "w")
    # Again: it is said in the log, and nothing else happens.
    provider.do("flb-del", "w", provider.name("flb"))
    is_apart_until_linked(luo, provider)


@pytest.mark.clause("faults.flb.unregister")
def test_handler_takes_its_flbs_with_it(luo: Luo) -> None:
    provider = Provider(luo)
    handler = provider.name("new")
    provider.do("handler-add", handler, handler)
    for name in ("one", "two"):
        provider.make_flb(name, handler)
    provider.do("handler-del", handler)
    # Their compatibles are free again.
    for name in ("one", "two"):
        again = f"new-{name}"
        provider.do("flb-make", provider.name(again), provider.name(name))
        provider.link_flb(again, "w")
        provider.drop_flb(again, "w")


@pytest.mark.clause("faults.flb.get.none")
def test_object_that_nobody_handed_over_is_not_there(luo: Luo) -> None:
    provider = Provider(luo)
    provider.make_flb("flb", "w")
    with refused(ENODATA):
        provider.flb("get-in", "flb")
    provider.drop_flb("flb", "w")


@pytest.mark.clause("faults.flb.get.none.outgoing")
def test_object_that_no_file_needs_is_not_there(luo: Luo) -> None:
    provider = Provider(luo)
    provider.make_flb("flb", "w")
    with refused(ENOENT):
        provider.flb("get-out", "flb")
    session = luo.create_session("vm")
    session.preserve(provider.file("one", "w"), 1)
    session.close()
    with refused(ENOENT):
        provider.flb("get-out", "flb")
    provider.drop_flb("flb", "w")
