# SPDX-License-Identifier: GPL-2.0-only
"""May a kernel follow the last one: every decision, the plan, and the page that is signed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from kernel.errors import UsageError
from kernel.kernel import Kernel
from reports import html, qualification
from reports.matrix import matches
from reports.model import BLACKOUT, Cargo, Handover, Part, Phase, Result, Run, Suite, Verdict
from reports.qualification import Acceptance, Check, Decision, Qualification, Rules
from suite.child import directory_of
from suite.clauses import catalogue
from suite.harness.browser import SIZES, chromium, look
from suite.harness.report_runs import AWKWARD
from suite.harness.test_reports_page import check_inert, parsed, section, text_of
from suite.qualify import __main__ as command
from suite.qualify import plan as plans
from suite.releases.sighting import Sighting, Witness

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "configs" / "qualification").glob("*.yaml"))

OLD, NEW = "deb:7.2", "deb:7.3"
TODAY = datetime.now(UTC).date()
RELEASES = {OLD: "7.2.13", NEW: "7.3.4"}

PLAN: dict[str, Any] = {
    "name": "Linux 7.3",
    "kernels": [NEW],
    "last": OLD,
    "targets": ["qemu"],
    "staging": ["session.create"],
    "must-pass": ["session.*"],
    "figures": {"samples": 1, "times": 1.25, "seconds": 0.05},
    "rollback": {way: ["handed over"] for way in ("there", "onward", "back")},
    "accepted": [{"test": "memfd.link", "until": str(TODAY), "reason": "Only a name.", "by": "A. Person"}],
}
PASSED = Result("suite/s/test_s.py::test_create", Verdict.PASS, clauses=("session.create",))
DEVIATED = Result(
    "suite/m/test_m.py::test_link[a]",
    Verdict.DEVIATION,
    clauses=("memfd.link",),
    message="the link is /",
    deviation="it is named otherwise (mm/memfd_luo.c)",
)
FAILED = replace(DEVIATED, verdict=Verdict.FAIL, deviation="")
ERROR = Result("suite/s/test_s.py::test_lost", Verdict.ERROR, message="the machine was lost")
TAKEN = Sighting(
    (RELEASES[OLD], RELEASES[NEW]),
    written=("kho-v4", "luo-v5"),
    understood=("luo-v5",),
    retrieved="",
    differences=(),
    inherited=True,
    log=("luo: Retrieved live update data, liveupdate number: 1",),
)


def run_of(kernel: str, *results: Result, onward: str = "", **more: Any) -> Run:
    properties: dict[str, str] = {}
    for which, spec in (("", kernel), ("next-", onward or kernel)):
        build = {"kernel": spec, "release": RELEASES[spec], "source": f"linux {spec}", "config": "c0"}
        properties |= {f"{which}{name}": value for name, value in build.items()}
    suite = Suite("luo-cts.qemu", properties | {"accelerator": "tcg"}, results)
    return Run(datetime(2026, 11, 26, tzinfo=UTC), (suite,), promises={"session.create": "It is."}, **more)


ONE_FILE = Cargo(1, 1, 1 << 20)


def measured(seconds: float, cargo: Cargo = ONE_FILE) -> dict[str, Any]:
    """Three updates, away for about so long."""
    phases = [Part(Phase.PRESERVE, 0.01), *(Part(name, seconds / 5) for name in BLACKOUT)]
    return {"handovers": tuple(Handover("m0", number, tuple(phases), cargo) for number in (1, 2, 3))}


STAGES = {
    "staging": f"staging {NEW} on qemu",
    "suite": f"suite {NEW} on qemu",
    "figures": f"figures {NEW} on qemu",
    "before": f"figures before {OLD} on qemu",
    "rollback": f"rollback {OLD} → {NEW} on qemu",
}


@dataclass
class Desk:
    """Reports in a directory, all in order until a test changes one, and the plan that they are judged by."""

    out: Path
    plan: dict[str, Any]
    said: Callable[[], str]

    def put(self, stage: str, run: Run | None) -> None:
        directory = directory_of(STAGES[stage], self.out)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "results.json").unlink(missing_ok=True)
        if run is not None:
            (directory / "results.json").write_text(json.dumps(run.to_json()))

    def see(self, *sightings: Sighting) -> None:
        directory = directory_of(STAGES["rollback"], self.out)
        Witness(directory).forget()
        for sighting in sightings:
            Witness(directory).note(sighting)

    def audit(self, able: bool, subject: str = NEW) -> None:
        row = {"item": "CONFIG_LIVEUPDATE", "now": "y", "judgement": "good", "needed_for": "LUO", "cost": "-"}
        told = {"subject": subject, "able": able, "verdict": "Told by the audit.", "rows": [row]}
        (self.out / "audit.json").write_text(json.dumps(told))

    def judge(self) -> tuple[int, str, dict[str, Any]]:
        """Exit status, what the terminal gets, and the JSON beside the page."""
        file = self.out / "plan.yaml"
        file.write_text(yaml.safe_dump(self.plan))
        status = command.main(["--no-run", "--report-dir", str(self.out), str(file)])
        return status, self.said(), json.loads((self.out / qualification.JSON).read_text())


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    made = Desk(tmp_path, json.loads(json.dumps(PLAN)), lambda: capsys.readouterr().out)
    made.audit(True)
    made.put("staging", run_of(NEW, PASSED))
    made.put("suite", run_of(NEW, PASSED))
    made.put("figures", run_of(NEW, PASSED, **measured(1.1)))
    made.put("before", run_of(OLD, PASSED, **measured(1.0)))
    made.put("rollback", run_of(OLD, PASSED, onward=NEW))
    old, new = TAKEN.releases
    made.see(*(replace(TAKEN, releases=way) for way in ((old, new), (old, new, new), (old, new, old))))
    return made


def unmet(told: Mapping[str, Any]) -> list[str]:
    return [check["name"] for check in told["checks"] if check["status"]]


def test_kernel_against_which_nothing_speaks_is_qualified(desk: Desk) -> None:
    status, said, told = desk.judge()
    assert (status, told["decision"]) == (0, "Qualified"), said
    assert [check["name"] for check in told["checks"]] == [
        "configuration", "staging", "suite", "figures", "rollback",
    ]  # fmt: skip
    assert "accepted, and did not fail: memfd.link" in said


def test_deviation_that_is_accepted_leaves_it_qualified_until_then(desk: Desk) -> None:
    desk.put("suite", run_of(NEW, PASSED, DEVIATED))
    status, said, told = desk.judge()
    assert (status, told["decision"]) == (0, "Qualified with deviations"), said
    assert f"1 accepted, the first until {TODAY}" in said
    assert "did not fail" not in said


def test_acceptance_that_has_expired_excuses_nothing(desk: Desk) -> None:
    desk.put("suite", run_of(NEW, PASSED, DEVIATED))
    desk.plan["accepted"][0]["until"] = str(TODAY - timedelta(1))
    status, said, told = desk.judge()
    assert (status, told["decision"], unmet(told)) == (1, "Not qualified", ["suite"])
    assert f"{DEVIATED.node_id}: was accepted until {TODAY - timedelta(1)}: the link is /" in said


def test_known_deviation_that_nobody_accepted_is_not_met(desk: Desk) -> None:
    desk.put("suite", run_of(NEW, PASSED, DEVIATED))
    desk.plan["accepted"] = []
    status, said, told = desk.judge()
    assert (status, unmet(told)) == (1, ["suite"])
    assert "a known deviation that is not accepted" in said


@pytest.mark.parametrize(
    ("match", "status"), [(None, 1), ("the link is", 0), ("the name is", 1)], ids=["none", "right", "other"]
)
def test_failure_that_is_not_known_is_accepted_by_its_words_alone(
    desk: Desk, match: str | None, status: int
) -> None:
    desk.put("suite", run_of(NEW, PASSED, FAILED))
    if match is not None:
        desk.plan["accepted"][0]["match"] = match
    assert desk.judge()[0] == status


def test_failure_of_what_has_to_pass_is_excused_by_nobody(desk: Desk) -> None:
    desk.put("suite", run_of(NEW, PASSED, DEVIATED))
    desk.plan["must-pass"].append("memfd.link")
    status, said, told = desk.judge()
    assert (status, unmet(told)) == (1, ["suite"])
    assert "memfd.link has to pass, and a test of it failed." in said


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([DEVIATED], "session.create has to pass, and no test of it did."),
        (
            [replace(PASSED, verdict=Verdict.SKIP), DEVIATED],
            "session.create has to pass, and no test of it did.",
        ),
        ([PASSED], "memfd.* has to pass, and no test of this run has such a clause."),
    ],
    ids=["not there", "skipped", "not known"],
)
def test_what_has_to_pass_and_was_not_judged_is_not_met(desk: Desk, results: list[Result], said: str) -> None:
    desk.put("suite", run_of(NEW, *results))
    if PASSED in results:
        desk.plan["must-pass"].append("memfd.*")
    status, told, _ = desk.judge()
    assert status == 1
    assert said in told


def test_nothing_else_is_looked_at_where_staging_is_not_met(desk: Desk) -> None:
    desk.put("staging", run_of(NEW, replace(PASSED, verdict=Verdict.FAIL, message="refused")))
    status, said, told = desk.judge()
    assert (status, unmet(told)) == (1, ["staging", "suite", "figures", "rollback"])
    assert said.count("It did not run: staging is not met.") == 3
    assert "did not fail" not in said


@pytest.mark.parametrize("stage", STAGES)
def test_missing_run_is_not_met(desk: Desk, stage: str) -> None:
    desk.put(stage, None)
    status, _, told = desk.judge()
    assert (status, told["decision"]) == (1, "Not qualified")
    assert {"before": "figures"}.get(stage, stage) in unmet(told)


@pytest.mark.parametrize("stage", ["staging", "suite", "figures", "rollback"])
def test_run_that_judged_nothing_is_not_met(desk: Desk, stage: str) -> None:
    desk.put(stage, run_of(OLD if stage == "rollback" else NEW))
    status, said, told = desk.judge()
    assert status == 1
    assert stage in unmet(told)
    assert "nothing was judged" in said


def test_run_without_a_verdict_is_the_harness_failure(desk: Desk) -> None:
    desk.put("suite", run_of(NEW, PASSED, ERROR))
    status, said, told = desk.judge()
    assert (status, told["decision"], unmet(told)) == (3, "Not qualified", ["suite"])
    assert "the machine was lost" in said


@pytest.mark.parametrize(
    ("more", "status"),
    [({"interrupted": True}, 2), ({"problem": "no disk"}, 3)],
    ids=["interrupted", "problem"],
)
def test_run_that_did_not_end_well_is_not_met(desk: Desk, more: dict[str, Any], status: int) -> None:
    desk.put("suite", run_of(NEW, PASSED, **more))
    assert desk.judge()[0] == status


def test_report_of_another_kernel_is_not_met(desk: Desk) -> None:
    desk.put("suite", run_of(OLD, PASSED))
    status, said, _ = desk.judge()
    assert status == 1
    assert f"its kernel is {OLD}, not {NEW}" in said


def test_another_build_of_the_kernel_in_one_of_the_runs_is_not_met(desk: Desk) -> None:
    run = run_of(NEW, PASSED)
    properties = {**run.suites[0].properties, "config": "c1"}
    desk.put("suite", replace(run, suites=(replace(run.suites[0], properties=properties),)))
    status, said, told = desk.judge()
    assert (status, unmet(told)) == (1, ["suite"])
    assert f"{NEW} is another one here" in said


def test_configuration_that_cannot_do_live_update_is_not_met(desk: Desk) -> None:
    desk.audit(False)
    status, said, told = desk.judge()
    assert (status, unmet(told)) == (1, ["configuration"])
    assert "    Told by the audit." in said


def test_audit_that_is_missing_or_of_another_kernel_is_not_met(desk: Desk) -> None:
    desk.audit(True, OLD)
    status, said, told = desk.judge()
    assert (status, unmet(told)) == (1, ["configuration"])
    assert f"audit.json is of {OLD}" in said
    (desk.out / "audit.json").unlink()
    assert desk.judge()[0] == 1


# Figures


def test_slower_update_is_not_met(desk: Desk) -> None:
    desk.put("figures", run_of(NEW, PASSED, **measured(1.3)))
    status, said, told = desk.judge()
    assert (status, unmet(told)) == (1, ["figures"])
    assert "blackout, 1 session, 1 file, 1 MiB: 1.300 s, and 1.000 s before: 1.30 times as long." in said


def test_kernel_is_not_held_against_its_own_figures(desk: Desk) -> None:
    desk.plan["last"] = NEW
    status, said, _ = desk.judge()
    assert status == 1
    assert f"There are no figures of the last qualified kernel, {NEW}." in said


def test_update_is_slower_by_ratio_and_by_seconds(desk: Desk) -> None:
    desk.put("figures", run_of(NEW, PASSED, **measured(1.3)))
    desk.plan["figures"]["seconds"] = 0.4
    assert desk.judge()[0] == 0
    desk.plan["figures"] |= {"seconds": 0.05, "times": 1.4}
    assert desk.judge()[0] == 0


def test_what_was_measured_before_and_is_not_now_is_not_met(desk: Desk) -> None:
    desk.put("figures", run_of(NEW, PASSED, **measured(1.0, Cargo(1, 10, 1 << 20))))
    status, said, _ = desk.judge()
    assert status == 1
    assert f"blackout, 1 session, 1 file, 1 MiB: was measured of {OLD}, and is not now." in said


def test_blackout_that_was_not_seen_whole_is_none(desk: Desk) -> None:
    half: dict[str, Any] = {
        "handovers": tuple(replace(each, phases=each.phases[:3]) for each in measured(1.0)["handovers"])
    }
    desk.put("figures", run_of(NEW, PASSED, **half))
    assert "blackout, 1 session, 1 file, 1 MiB: was measured of" in desk.judge()[1]


def test_times_of_another_kind_of_machine_are_not_compared(desk: Desk) -> None:
    run = run_of(OLD, PASSED, **measured(1.0))
    properties = {**run.suites[0].properties, "accelerator": "kvm"}
    desk.put("before", replace(run, suites=(replace(run.suites[0], properties=properties),)))
    status, said, told = desk.judge()
    assert (status, unmet(told)) == (1, ["figures"])
    assert "Times cannot be compared: accelerator was kvm, and is tcg." in said


def test_kept_figures_take_the_place_of_a_measurement(desk: Desk) -> None:
    desk.put("before", None)
    desk.plan["figures"]["kept"] = "kept"
    assert desk.judge()[0] == 1
    (desk.out / "kept").mkdir()
    run = run_of(OLD, PASSED, **measured(0.5))
    (desk.out / "kept/results.json").write_text(json.dumps(run.to_json()))
    status, said, _ = desk.judge()
    assert status == 1
    assert "1.100 s, and 0.500 s before" in said
    desk.plan["figures"]["times"] = 3
    assert desk.judge()[0] == 0


# Rollback


@pytest.mark.parametrize("place", [0, 1, 2], ids=["there", "onward", "back"])
@pytest.mark.parametrize("outcome", ["broke", "refused cleanly", "not seen"])
def test_way_that_does_not_hand_over_is_not_met(desk: Desk, place: int, outcome: str) -> None:
    old, new = TAKEN.releases
    ways = [replace(TAKEN, releases=way) for way in ((old, new), (old, new, new), (old, new, old))]
    if outcome == "broke":
        ways[place] = replace(ways[place], differences=("size of file 0x7 is 1, it was 2",))
    elif outcome == "refused cleanly":
        log = ("KHO: setup: handover FDT (0x1000) is incompatible",)
        ways[place] = replace(ways[place], retrieved="ENOENT", inherited=False, log=log)
    else:
        del ways[place]
    desk.see(*ways)
    status, said, told = desk.judge()
    assert (status, unmet(told)) == (1, ["rollback"])
    assert (
        f"{'nothing was seen' if outcome == 'not seen' else outcome}, and it has to be handed over." in said
    )
    desk.plan["rollback"][list(desk.plan["rollback"])[place]].append("refused cleanly")
    assert desk.judge()[0] == (0 if outcome == "refused cleanly" else 1)


# The plan


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.name))
def test_projects_own_plans_are_right_and_name_clauses_that_exist(path: Path) -> None:
    plan, clauses = plans.load(path), catalogue.load()
    for pattern in (*plan.staging, *plan.must_pass, *(each.test for each in plan.accepted)):
        assert "::" in pattern or matches(pattern, clauses), pattern
    assert not any(matches(each.test, [clause]) for each in plan.accepted for clause in plan.must_pass)


def test_there_is_an_example() -> None:
    assert EXAMPLES


def broken_plans() -> Iterator[Any]:
    yield pytest.param({"more": 1}, r"\$: .*'more' was unexpected", id="unknown")
    yield pytest.param({"staging": []}, r"\$\.staging: ", id="no staging")
    yield pytest.param(
        {"rollback": PLAN["rollback"] | {"back": ["broke"]}}, r"\$\.rollback\.back", id="broke"
    )
    yield pytest.param({"figures": {"samples": 1, "times": 0.5, "seconds": 0}}, r"figures\.times", id="times")
    wrong = PLAN["accepted"][0]
    yield pytest.param({"accepted": [wrong | {"until": "soon"}]}, r"\.until: 'soon' is not a", id="date")
    yield pytest.param({"accepted": [wrong | {"match": "("}]}, r"\.match: ", id="match")
    yield pytest.param({"last": "deb:5.10"}, "5.10", id="kernel")
    yield pytest.param({"targets": ["nowhere"]}, "there is no target 'nowhere'", id="target")


@pytest.mark.parametrize(("change", "said"), list(broken_plans()))
def test_broken_plan_is_refused_in_one_sentence(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN | change))
    with pytest.raises(UsageError, match=said) as refused:
        plans.load(tmp_path / "plan.yaml")
    assert "\n" not in str(refused.value)


def test_date_may_be_quoted_or_not(tmp_path: Path) -> None:
    text = yaml.safe_dump(PLAN).replace(f"'{TODAY}'", str(TODAY))
    assert f"until: {TODAY}\n" in text
    (tmp_path / "plan.yaml").write_text(text)
    assert plans.load(tmp_path / "plan.yaml").accepted[0].until == TODAY


@pytest.mark.parametrize(
    "text", ["a: [", "- 1", "\x00", "2026-11-26: 1"], ids=["cut", "list", "control", "key"]
)
def test_plan_that_is_none_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tmp_path / "plan.yaml").write_text(text)
    assert command.main(["--report-dir", str(tmp_path / "out"), str(tmp_path / "plan.yaml")]) == 4
    assert "is no qualification" in capsys.readouterr().err
    assert command.main([str(tmp_path / "missing.yaml")]) == 4
    assert command.main(["--wrong"]) == 4
    assert not (tmp_path / "out").exists()


# A real run


def test_it_is_also_where_the_reports_are(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "reports.qualify", str(tmp_path / "none.yaml")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert f"{tmp_path / 'none.yaml'}" in done.stderr


def test_staging_run_that_judges_nothing_ends_it_there(tmp_path: Path, default_kernel: Kernel) -> None:
    kernel = default_kernel.spec
    plan = PLAN | {"kernels": [kernel], "last": kernel, "staging": ["session.create"]}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    line = [sys.executable, "-m", "suite.qualify", "--report-dir", str(tmp_path), str(tmp_path / "plan.yaml")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    line += ["--", "-k", "no_such_test"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1, done.stdout + done.stderr
    told = json.loads((tmp_path / qualification.JSON).read_text())
    assert [(check["name"], check["status"]) for check in told["checks"]] == [
        ("configuration", 0), ("staging", 1), ("suite", 1), ("figures", 1), ("rollback", 1),
    ]  # fmt: skip
    staging = directory_of(f"staging {kernel} on qemu", tmp_path)
    assert (staging / "junit.xml").exists()
    assert [each.name for each in tmp_path.iterdir() if each.is_dir()] == [staging.name]


# The page


def qualification_of(*checks: Check, text: str = "") -> Qualification:
    accepted = Acceptance(
        text or "memfd.link", date(2027, 5, 31), text or "Only a name.", text or "A. Person"
    )
    rules = (accepted, *(each.acceptance for check in checks for each in check.accepted))
    return Qualification(text or "Linux 7.3", text or OLD, Rules(rules, date(2026, 11, 26)), checks)


def awkward_check(text: str, status: int) -> Check:
    accepted = qualification.Accepted(text, text, Acceptance(text, date(2027, 1, 1), text, text, match=text))
    table = qualification.Table((text, text), ((text, text),))
    return Check(text, text, text, status, (text,), (accepted,), table, {"kernel": text, text: text}, text)


def test_nothing_checked_is_nothing_qualified() -> None:
    assert qualification_of().exit_status == 5
    assert qualification_of().decision is Decision.NOT_QUALIFIED


def test_page_is_inert_and_valid_whatever_is_in_it() -> None:
    checks = [awkward_check(text, status) for text in AWKWARD for status in (0, 1, 3)]
    document = parsed(qualification.render(qualification_of(*checks)))
    assert len(list(document.iter("article"))) == len(checks)
    assert len(list(document.iter("details"))) == len({check.accepted[0].test for check in checks})
    # A report beside the page is the one thing that it leads to.
    plain = [replace(check, report="") for check in checks]
    for text in AWKWARD:
        check_inert(parsed(qualification.render(qualification_of(*plain, text=text))))


def test_long_message_is_cut_on_the_page(desk: Desk) -> None:
    desk.put("suite", run_of(NEW, PASSED, replace(DEVIATED, message="m" * 9999)))
    _, _, told = desk.judge()
    assert len(told["checks"][2]["accepted"][0]["message"]) == qualification.MESSAGE


def test_page_says_the_decision_and_has_a_place_to_sign(desk: Desk) -> None:
    desk.put("suite", run_of(NEW, PASSED, DEVIATED))
    desk.judge()
    page = (desk.out / qualification.PAGE).read_text()
    document = parsed(page)
    text = text_of(document)
    assert "____" in text_of(section(document, "signature"))
    for wanted in ("Qualified with deviations: 1 accepted", "Only a name.", "A. Person", "1.10"):
        assert wanted in text
    assert html.plain(f"linux {NEW}") in text


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_browser_has_nothing_to_complain_of(desk: Desk, size: str, scheme: Any) -> None:
    desk.put("suite", run_of(NEW, PASSED, DEVIATED, ERROR))
    desk.judge()
    path = desk.out / qualification.PAGE
    with chromium() as browser, look(browser, path, size, scheme) as seen:
        assert seen.violations == []
        assert seen.complaints == []
        assert seen.requests == [path.as_uri()]
        width = seen.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert width <= 0
