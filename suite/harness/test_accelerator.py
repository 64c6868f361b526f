# SPDX-License-Identifier: GPL-2.0-only
"""KVM is trusted after it has run something, not because a device node exists."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.targets import accelerator
from fixtures.targets.base import Load, Target
from kernel import cache
from kernel.errors import UsageError
from suite.harness.process_target import ProcessTarget

Choose = Callable[..., str]


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(accelerator, "PROBE_SECONDS", 0.3)


@pytest.fixture
def choose(tmp_path: Path) -> Choose:
    """Choose on a host whose KVM and TCG boot, or hang, as told."""
    device = tmp_path / "kvm"
    device.touch()
    (tmp_path / "log").mkdir()

    def run(wanted: str = "auto", *, hangs: tuple[str, ...] = (), device: Path = device) -> str:
        def target(kind: str) -> Target:
            return ProcessTarget(tmp_path / "log", mute=kind in hangs, silent=kind in hangs)

        return accelerator.choose(wanted, target, lambda target: Load(tmp_path, tmp_path, ""), device)

    return run


def test_kvm_that_runs_is_used(choose: Choose) -> None:
    assert choose() == "kvm"


def test_kvm_that_hangs_is_named_in_one_line(choose: Choose, capsys: pytest.CaptureFixture[str]) -> None:
    assert choose(hangs=("kvm",)) == "tcg"
    said = capsys.readouterr().err
    assert "no KVM" in said
    assert "first line" in said
    assert said.count("\n") == 1


def test_answer_is_kept_until_the_host_boots_again(choose: Choose) -> None:
    assert choose(hangs=("kvm",)) == "tcg"
    assert choose() == "tcg"
    kept = cache.root() / "kvm.json"
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "boot": "another"}))
    assert choose() == "kvm"


def test_kernel_that_is_silent_everywhere_condemns_nobody(choose: Choose) -> None:
    assert choose(hangs=("kvm", "tcg")) == "tcg"
    assert not (cache.root() / "kvm.json").exists()
    assert choose() == "kvm"


def test_missing_device_needs_no_probe(choose: Choose, tmp_path: Path) -> None:
    assert choose(device=tmp_path / "none") == "tcg"
    assert not (cache.root() / "kvm.json").exists()


def test_insisting_on_kvm_in_vain_is_wrong_usage(choose: Choose) -> None:
    with pytest.raises(UsageError, match="--accel kvm"):
        choose("kvm", hangs=("kvm",))


def test_torn_answer_is_asked_again(choose: Choose) -> None:
    (cache.root() / "kvm.json").write_text('{"boot": "')
    assert choose() == "kvm"
