# SPDX-License-Identifier: GPL-2.0-only
"""The recipes of docs/ci: what a CI would refuse is refused here, and their commands do what they are for."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml

from suite.harness.nested import ROOT

RECIPES = ROOT / "docs" / "ci"
LAVA_SCHEMA = Path("/usr/share/lava-common/lava-schema.py")


def recipe(name: str) -> Any:
    return yaml.safe_load((RECIPES / name).read_text())


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory with a ``run`` that judges two tests of no kernel: it passes, or as FAIL says fails."""
    (tmp_path / "test_recipe.py").write_text(
        dedent("""
        import os

        def test_one():
            pass

        def test_two():
            assert not os.environ.get("FAIL"), "the kernel broke it"
        """)
    )
    run = tmp_path / "run"
    run.write_text(
        dedent(f"""\
        #!/bin/bash
        PYTHONPATH={ROOT} exec {sys.executable} -m pytest -c {ROOT}/pyproject.toml --rootdir {tmp_path} \\
            -p no:cacheprovider --noconftest "$@" {tmp_path}/test_recipe.py
        """)
    )
    run.chmod(0o755)
    return tmp_path


def shell(
    lines: Sequence[str], directory: Path, *, fail: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``lines`` as one script, as CIs do: it ends at the first command that fails."""
    return subprocess.run(
        ["bash", "-e", "-c", "\n".join(lines)],
        cwd=directory,
        env={**os.environ, "FAIL": "1" if fail else "", "KERNEL": "deb:newest", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def accepted(name: str, *schema: str) -> str:
    """What check-jsonschema, with the schema that the CI publishes, has against a recipe."""
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *schema, name],
        cwd=RECIPES, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_github_takes_the_workflow() -> None:
    assert accepted("github.yml", "--builtin-schema", "vendor.github-workflows") == ""


def test_gitlab_takes_the_job() -> None:
    schema = ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"]
    assert accepted("gitlab.yml", *schema) == ""


def test_lava_takes_the_job() -> None:
    if not LAVA_SCHEMA.exists():
        pytest.skip("LAVA's own schema is not here (the Debian package lava-common has it)")
    done = subprocess.run(
        ["/usr/bin/python3", LAVA_SCHEMA, "job", RECIPES / "lava.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip(f"LAVA's own schema lacks a package: {done.stderr.splitlines()[-1]}")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.parametrize("fail", [False, True])
def test_githubs_steps_judge_and_show_the_summary(checkout: Path, fail: bool) -> None:
    steps = recipe("github.yml")["jobs"]["conformance"]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    page = checkout / "page.md"
    results = [shell([line], checkout, fail=fail, GITHUB_STEP_SUMMARY=str(page)) for line in commands]
    assert [done.returncode for done in results] == [int(fail), 0]
    assert page.read_text().startswith("# Not conformant: 1 passed, 1 failed" if fail else "# Conformant: 2")
    (upload,) = [step["with"]["path"] for step in steps if "upload-artifact" in step.get("uses", "")]
    assert (checkout / upload / "junit.xml").exists()
    assert all(
        step.get("if") == "always()" for step in steps if "summary" in str(step) or "upload" in str(step)
    )


@pytest.mark.parametrize("fail", [False, True])
def test_gitlabs_script_leaves_what_its_artifacts_name(checkout: Path, fail: bool) -> None:
    job = recipe("gitlab.yml")["live-update"]
    done = shell(job["script"], checkout, fail=fail, CI_PROJECT_DIR=str(checkout))
    assert done.returncode == int(fail)
    assert (checkout / job["artifacts"]["reports"]["junit"]).exists()
    assert job["artifacts"]["when"] == "always"
    assert done.returncode not in job["allow_failure"]["exit_codes"]


@pytest.mark.parametrize("fail", [False, True])
def test_lavas_steps_report_each_test(checkout: Path, fail: bool) -> None:
    (definition,) = recipe("lava.yaml")["actions"][-1]["test"]["definitions"]
    install, *steps = definition["repository"]["run"]["steps"]
    assert install.startswith("apt-get ")
    helper = (
        checkout / "bin" / "lava-test-case"
    )  # LAVA brings it into the job; its arguments are all there is
    helper.parent.mkdir()
    helper.write_text(f'#!/bin/sh\necho "$@" >>{checkout}/cases\n')
    helper.chmod(0o755)
    tree = checkout / "tree"
    tree.mkdir()
    shutil.copytree(ROOT / "reports", tree / "reports", ignore=shutil.ignore_patterns("out", "__pycache__"))
    shutil.copy(checkout / "run", tree / "run")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q", tree], check=True)
    subprocess.run([*git, "-C", tree, "add", "-A"], check=True)
    subprocess.run([*git, "-C", tree, "commit", "-qm", "tree"], check=True)
    done = shell(
        steps, checkout, fail=fail, LUO_CTS_URL=f"file://{tree}", PATH=f"{helper.parent}:{os.environ['PATH']}"
    )
    assert done.returncode == 0, done.stderr
    assert (checkout / "cases").read_text().splitlines() == [
        "luo-cts.test_recipe.test_one --result pass",
        f"luo-cts.test_recipe.test_two --result {'fail' if fail else 'pass'}",
    ]


def test_results_outside_of_lava_are_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "reports.lava", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("fail", [False, True])
def test_jenkins_command_judges(checkout: Path, fail: bool) -> None:
    text = (RECIPES / "Jenkinsfile").read_text()
    assert text.count("{") == text.count("}")
    (command,) = re.findall(r"script: '([^']*)'", text)
    assert shell([command], checkout, fail=fail).returncode == int(fail)
    for named in re.findall(r"'(report/[^']*)'", text):
        assert list(checkout.glob(named)), named


@pytest.mark.parametrize("fail", [False, True])
def test_cron_mails_only_what_is_wrong(checkout: Path, fail: bool) -> None:
    (checkout / "docs" / "ci").mkdir(parents=True)
    script = shutil.copy(RECIPES / "nightly", checkout / "docs" / "ci")
    done = shell([f"{script} nights --kernel deb:newest"], checkout, fail=fail)
    assert done.returncode == int(fail)
    assert done.stderr == ""
    assert ("Not conformant: 1 passed, 1 failed." in done.stdout) == fail
    assert bool(done.stdout) == fail
    (night,) = (checkout / "nights").iterdir()
    assert {"junit.xml", "log.txt", "summary.md"} <= {path.name for path in night.iterdir()}


def test_cron_without_a_place_for_reports_is_wrong_usage(checkout: Path) -> None:
    done = shell([str(RECIPES / "nightly")], checkout)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("usage: ")
