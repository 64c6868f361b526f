# SPDX-License-Identifier: GPL-2.0-only
"""``python -m reports.kcidb --origin NAME [REPORT_DIR]``: a run for KCIDB, KernelCI's common database.

Made of results.json and checked by the schema of kcidb-io (the extra ``kcidb``). Its words (kcidb_io/schema):
FAIL, the kernel is faulty, known deviations too, each tied to an issue; ERROR, the test's own code failed;
MISS, it did not run, or the harness failed under it; SKIP, it does not apply; DONE, a measurement.
Exit status: 0, 3 where it cannot be made, 4 for wrong usage.
"""

import argparse
import hashlib
import json
import re
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reports import text, whole
from reports.model import Result, Run, Suite, Verdict

ROOT = "luo-cts"  # of all test paths
LATEST = Path(__file__).parent / "out" / "latest"

# kcidb_io/schema/v05_03.py, in characters
_EXCERPT = 16384

# Of the links that a deviation has, those that are a URI for sure.
_URL = re.compile(r"https?://[A-Za-z0-9._/~?&=:+,;@-]+(#[A-Za-z0-9._/-]*)?")

_STATUS = {
    Verdict.PASS: "PASS",
    Verdict.FAIL: "FAIL",
    Verdict.DEVIATION: "FAIL",
    Verdict.SKIP: "SKIP",
    Verdict.ERROR: "ERROR",
}


class Unusable(Exception):
    """One sentence on why there is nothing to submit."""

    exit_status = 3


class WrongUsage(Unusable):
    exit_status = 4


@dataclass(frozen=True)
class Submission:
    """Who submits, and what only the submitter knows."""

    origin: str
    build_id: str | None = None  # of a build that KCIDB has already
    checkout: dict[str, str] = field(default_factory=dict)  # the fields of a checkout, by their KCIDB names
    files_url: str | None = None  # where the report directory can be read


def status(result: Result) -> str:
    return "MISS" if result.missed and result.verdict is not Verdict.PASS else _STATUS[result.verdict]


def path(node_id: str) -> str:
    """The node id as a legal path, the same in every run: a hash stands for what it cannot hold."""
    scopes, bracket, parameters = node_id.partition("[")
    file, *names = scopes.split("::")
    parts = [*re.sub(r"\.py$", "", file).split("/"), *names]
    if parts[0] == "suite":
        del parts[0]
    if bracket:
        parts.append(parameters.removesuffix("]"))
    return ".".join([ROOT, *map(_legal, parts)])


def _legal(part: str) -> str:
    legal = re.sub(r"[^a-zA-Z0-9_-]+", "-", part)
    return part if part and legal == part else f"{legal[:80].strip('-')}-{_digest(part)[:8]}".lstrip("-")


def _digest(*words: object) -> str:
    return hashlib.sha256("\n".join(map(str, words)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _clean(data: Any) -> Any:
    """Without what JSON may carry and a database refuses: NUL and lone surrogates."""
    match data:
        case str():
            return text.clean(data)
        case dict():
            return {text.clean(key): _clean(value) for key, value in data.items()}
        case list() | tuple():
            return [_clean(value) for value in data]
        case _:
            return data


def _excerpt(result: Result) -> str:
    """Its own words, and the console's two ends; cleaning makes a text longer, so it is cut afterwards."""
    told = "\n".join(filter(None, (result.message, result.detail, result.console)))
    cleaned = text.clean(told)
    if len(cleaned) <= _EXCERPT:
        return cleaned
    half = _EXCERPT // 2 - 40
    return f"{cleaned[:half]}\n[{len(cleaned) - 2 * half} characters left out]\n{cleaned[-half:]}"


@dataclass(frozen=True)
class _Writer:
    """Makes the objects of one run."""

    run: Run
    by: Submission

    def _id(self, *words: object) -> str:
        return f"{self.by.origin}:{ROOT}-{_digest(*words)}"

    def _own(self, *words: object, **more: Any) -> dict[str, Any]:
        return {"id": self._id(*words), "origin": self.by.origin, **more}

    def checkout(self, suite: Suite) -> dict[str, Any]:
        source = suite.properties.get("source", suite.properties.get("kernel", "unknown"))
        return self._own(
            "checkout",
            source,
            *sorted(self.by.checkout.items()),
            comment=source,
            valid=True,
            **self.by.checkout,
        )

    def build(self, suite: Suite) -> dict[str, Any]:
        told = suite.properties
        checkout = self.checkout(suite)["id"]
        build = self._own(
            "build",
            checkout,
            told.get("config"),
            told.get("architecture"),
            checkout_id=checkout,
            comment=told.get("release", "unknown"),
            config_name=told.get("kernel", "unknown"),
            misc=dict(told),
        )
        if re.fullmatch("[a-z0-9_]+", told.get("architecture", "")):
            build["architecture"] = told["architecture"]
        if "release" in told:  # it was booted
            build["status"] = "PASS"
        return build

    def build_id(self, suite: Suite) -> str:
        return self.by.build_id or str(self.build(suite)["id"])

    def _files(self, result: Result) -> list[dict[str, str]]:
        if self.by.files_url is None:
            return []
        base = self.by.files_url.rstrip("/")
        names = [file for file in result.attachments if Path(file).name]
        return [{"name": Path(file).name, "url": f"{base}/{quote(text.clean(file))}"} for file in names]

    def _test_id(self, suite: Suite, *words: object) -> str:
        return self._id("test", self.run.started.isoformat(), suite.name, *words)

    def _base(self, suite: Suite, *words: object) -> dict[str, Any]:
        machine = [suite.properties.get(name, "") for name in ("target", "emulator", "accelerator")]
        return {
            "id": self._test_id(suite, *words),
            "origin": self.by.origin,
            "build_id": self.build_id(suite),
            "environment": {"comment": ", ".join(filter(None, machine)), "misc": dict(suite.properties)},
        }

    def test(self, suite: Suite, result: Result, name: str) -> dict[str, Any]:
        """``name`` is that of no other result."""
        test = self._base(suite, name) | {
            "path": path(result.node_id),
            "comment": result.node_id,
            "status": status(result),
            "duration": result.seconds,
            "misc": {
                "clauses": list(result.clauses),
                "machine": result.machine,
                "generations": list(result.generations),
                "attempts": [f"{old.verdict}: {old.message}" for old in result.attempts],
                "notes": list(result.notes),
                "deviation": result.deviation,
            },
        }
        if result.started is not None:
            test["start_time"] = datetime.fromtimestamp(result.started, UTC).isoformat()
        if result.verdict is not Verdict.PASS:
            test["log_excerpt"] = _excerpt(result)
        if files := self._files(result):
            test["log_url"], test["output_files"] = files[0]["url"], files[1:]
        return test

    def handover(self, suite: Suite, number: int) -> dict[str, Any] | None:
        """The measurement: the median of what the handovers took, each of which many tests may share."""
        taken = {
            (result.machine, part)
            for result in suite.results
            for part in result.parts
            if part.name.startswith("handover ")
        }
        if not taken:
            return None
        median = statistics.median(part.seconds for _, part in taken)
        return self._base(suite, "handover", number) | {
            "path": f"{ROOT}.handover",
            "comment": f"median of {len(taken)} handovers: reboot call to the next kernel's answer",
            "status": "DONE",
            "number": {"value": median, "unit": "s", "prefix": "metric"},
        }

    def issue(self, explanation: str) -> dict[str, Any]:
        """Of a known deviation: reason and, in brackets, link."""
        reason, _, link = explanation.removesuffix(")").rpartition(" (")
        issue = self._own(
            "deviation",
            explanation,
            version=1,
            comment=explanation,
            report_subject=reason or explanation,
            culprit={"code": True, "tool": False, "harness": False},
        )
        if _URL.fullmatch(link):
            issue["report_url"] = link
        return issue

    def trouble(self, incident: str) -> dict[str, Any]:
        """Of a machine that was lost, and replaced."""
        culprit = {"code": False, "tool": False, "harness": True}
        return self._own("incident", incident, version=1, comment=incident, culprit=culprit)

    def incident(self, issue: dict[str, Any], **where: str) -> dict[str, Any]:
        return self._own(
            "incident",
            issue["id"],
            self.run.started.isoformat(),
            *where.values(),
            issue_id=issue["id"],
            issue_version=issue["version"],
            present=True,
            **where,
        )

    def objects(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each object with the list that it belongs to; of equal ones only the first counts."""
        taken: set[str] = set()
        for number, suite in enumerate(self.run.complete()):
            if self.by.build_id is None:
                yield "checkouts", self.checkout(suite)
                yield "builds", self.build(suite)
            for result in suite.results:
                name = text.unique(f"{suite.name} {result.node_id}", taken)
                test = self.test(suite, result, name)
                yield "tests", test
                if result.verdict is Verdict.DEVIATION:
                    issue = self.issue(result.deviation)
                    yield "issues", issue
                    yield "incidents", self.incident(issue, test_id=test["id"])
            if (handover := self.handover(suite, number)) is not None:
                yield "tests", handover
            for told in self.run.incidents if number == 0 else ():
                issue = self.trouble(told)
                yield "issues", issue
                yield "incidents", self.incident(issue, build_id=self.build_id(suite))


def document(run: Run, by: Submission) -> dict[str, Any]:
    """The submission. Raises Unusable where kcidb-io is missing or its schema refuses something."""
    try:
        from jsonschema import ValidationError
        from kcidb_io import schema
    except ImportError:
        raise Unusable("the package kcidb-io is missing (pip install kcidb-io, or ./run kcidb)") from None
    data: dict[str, Any] = schema.LATEST.new()
    seen: set[str] = set()
    for kind, each in _Writer(run, by).objects():
        if each["id"] not in seen:
            seen.add(each["id"])
            data.setdefault(kind, []).append(_clean(each))
    try:
        schema.LATEST.validate(data)
    except ValidationError as error:
        place = "/".join(map(str, error.absolute_path))
        raise WrongUsage(f"KCIDB's schema refuses {place}: {error.message[:200]}") from error
    return data


def read(directory: Path) -> Run:
    """What a report directory holds; raises Unusable."""
    file = directory / "results.json"
    try:
        return Run.from_json(json.loads(file.read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is none of ours"
        raise Unusable(f"{file} cannot be read: {reason} (a report directory has one)") from error


# The fields of a checkout that only the submitter knows.
_CHECKOUT = (
    "tree_name",
    "git_repository_url",
    "git_repository_branch",
    "git_commit_hash",
    "git_commit_name",
    "patchset_hash",
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        self.exit(WrongUsage.exit_status, f"{message} (see --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _Parser(
        prog="python -m reports.kcidb",
        description="Make a KCIDB submission of a report, for KernelCI's common database.",
    )
    parser.add_argument("report", nargs="?", type=Path, default=LATEST, metavar="REPORT_DIR")
    parser.add_argument("--origin", required=True, metavar="NAME", help="the CI system, as KCIDB knows it")
    parser.add_argument("--build-id", metavar="ID", help="of a build that KCIDB has already")
    for name in _CHECKOUT:
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="TEXT", help="of the kernel's checkout")
    parser.add_argument("--files-url", metavar="URL", help="where the report directory can be read")
    parser.add_argument("--output", type=Path, metavar="FILE", help="(REPORT_DIR/kcidb.json)")
    given = parser.parse_args(arguments)
    try:
        if not re.fullmatch("[a-z0-9_]+", given.origin):
            raise WrongUsage(f"'{given.origin}' is no origin (it is of a-z, 0-9 and _)")
        checkout = {name: value for name in _CHECKOUT if (value := getattr(given, name)) is not None}
        by = Submission(given.origin, given.build_id, checkout, given.files_url)
        run = read(given.report)
        target = given.output or given.report / "kcidb.json"
        try:
            whole.write(target, json.dumps(document(run, by), indent=1).encode() + b"\n")
        except OSError as error:
            raise Unusable(f"{target} cannot be written: {error.strerror}") from error
    except Unusable as error:
        print(error, file=sys.stderr)
        return error.exit_status
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
