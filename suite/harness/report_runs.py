# SPDX-License-Identifier: GPL-2.0-only
"""Runs with anything in them, for tests of the reports."""

from datetime import UTC, datetime

from hypothesis import strategies as st

from reports.model import Attempt, Part, Result, Run, Suite, Verdict

STARTED = datetime(2026, 11, 23, 5, 14, tzinfo=UTC)

# What one reader or another takes for more than text, beside every character there is.
AWKWARD = (
    "</script><script>alert(1)</script>",
    "]]>",
    "<!--",
    "&amp; &#0; %s {} $(id) `id`",
    "[[ATTACHMENT|/etc/passwd]]",
    "ok 1 - fine # SKIP",
    "not ok 1",
    "Subtest: luo",
    "# Subtest: luo",
    "KTAP version 1",
    "1..0 # SKIP all",
    "Bail out!",
    "reboot: System halted",
    "- first :- dash",
    "| a | b |\n|---|\n```\n# title\n~~~",
    "::error file=a.py::b",
    "\x1b[2J\x1b]0;title\x07\x9b31m\r\x00\ufffe\ud800",
    "caf\u00e9 \u202e \U0001f427 \u2028",
    "a::b/c.py[d]#e[",
    "../../etc/passwd",
    " ",
)
anything = st.text(st.characters(exclude_categories=()), max_size=60) | st.sampled_from(AWKWARD)
seconds = st.floats(0, 1e7, allow_nan=False)
results = st.builds(
    Result,
    node_id=anything,
    verdict=st.sampled_from(Verdict),
    order=st.integers(0, 100),
    clauses=st.lists(anything, max_size=2).map(tuple),
    seconds=seconds,
    message=anything,
    detail=anything | st.just("detail\n" * 50_000),
    deviation=anything,
    machine=anything,
    generations=st.lists(st.integers(0), max_size=3).map(tuple),
    parts=st.lists(st.builds(Part, anything, seconds), max_size=2).map(tuple),
    console=anything | st.just("\x1b[31mflood\x00\r\n" * 30_000),
    batch=st.none() | anything,
    attempts=st.lists(st.builds(Attempt, st.sampled_from(Verdict), anything), max_size=2).map(tuple),
    notes=st.lists(anything, max_size=2).map(tuple),
    missed=st.booleans(),
    attachments=st.lists(anything, max_size=2).map(tuple),
)
suites = st.builds(
    Suite,
    name=anything,
    properties=st.dictionaries(anything, anything, max_size=3),
    results=st.lists(results, max_size=4).map(tuple),
)
runs = st.builds(
    Run,
    started=st.just(STARTED),
    suites=st.lists(suites, max_size=2).map(tuple),
    interrupted=st.booleans(),
    problem=st.none() | anything,
    incidents=st.lists(anything, max_size=2).map(tuple),
    stale=st.lists(anything, max_size=2).map(tuple),
)
