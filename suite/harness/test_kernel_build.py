# SPDX-License-Identifier: GPL-2.0-only
"""From tree to kernel: caching, incremental builds, patches, errors, interruptions; on a tiny tree."""

import os
import select
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kernel import build, cache, source
from kernel.arch import native
from kernel.errors import LuoCtsError, UsageError
from kernel.kernel import Kernel, obtain
from kernel.spec import TreeSpec
from suite.harness.nested import interruptible, supervise

DATA = Path(__file__).parent / "kernel_data"
ROOT = Path(__file__).parents[2]
PATIENCE = 60  # seconds, for what takes one

pytestmark = pytest.mark.skipif(
    bool(build.missing_tools(native())) or shutil.which("git") is None,
    reason="needs the tools of a build",
)


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "luo-cts"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "linux"
    for name in ("mm", "fs", "include", "hooks"):
        (tree / name).mkdir(parents=True)
    shutil.copy(DATA / "Makefile", tree)
    (tree / "Kconfig").write_text("config SMP\n\tbool\n\tdepends on BROKEN\n")
    (tree / ".gitignore").write_text(".*\n!.gitignore\n*.o\n")
    (tree / "include/common.h").write_text("#define COMMON 1\n")
    (tree / "mm/one.c").write_text('#include "common.h"\nconst char one[] = "one";\n')
    (tree / "fs/two.c").write_text('#include "common.h"\nconst char two[] = "two";\n')
    return tree


def state(tree: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.lstat().st_mtime_ns, p.lstat().st_ino) for p in (tree, *tree.rglob("*"))}


def runs(private_cache: Path) -> int:
    return sum(path.read_text().count("run") for path in private_cache.glob("builds/*/runs"))


def compiled(private_cache: Path) -> list[str]:
    (log,) = private_cache.glob("builds/*/build.log")
    return sorted(row.split()[1] for row in log.read_text().splitlines() if row.startswith("  CC "))


def patch_of(name: str, old: str, new: str) -> str:
    return f"--- a/{name}\n+++ b/{name}\n@@ -2 +2 @@\n-{old}\n+{new}\n"


FIX_ONE = patch_of("mm/one.c", 'const char one[] = "one";', 'const char one[] = "patched";')


def test_kernel_says_all_that_is_known_of_it(tree: Path) -> None:
    kernel = obtain(f"tree:{tree}")
    assert (kernel.spec, kernel.release) == (f"tree:{tree}", "9.9.1")
    assert kernel.source == f"tree {tree} v9.9.1"
    assert b"one" in kernel.image.read_bytes()
    assert kernel.config is not None
    assert "CONFIG_LIVEUPDATE=y" in kernel.config.read_text()
    assert kernel.symbols is not None
    assert kernel.symbols.is_file()
    assert kernel.system_map is not None
    assert kernel.system_map.is_file()
    assert kernel.source_dir is not None
    assert (kernel.source_dir / "mm/one.c").is_file()
    assert Kernel.from_json(kernel.to_json()) == kernel


def test_nothing_is_built_twice(tree: Path, private_cache: Path) -> None:
    first = obtain(f"tree:{tree}")
    assert runs(private_cache) == 1
    assert obtain(f"tree:{tree}") == first
    assert runs(private_cache) == 1
    again = obtain(f"tree:{tree.parent}/./linux")
    assert (again.image, runs(private_cache)) == (first.image, 1)


def test_one_changed_file_is_compiled_alone(tree: Path, private_cache: Path) -> None:
    first = obtain(f"tree:{tree}")
    assert compiled(private_cache) == ["fs/two.o", "mm/one.o"]
    (tree / "mm/one.c").write_text('const char one[] = "changed";\n')
    second = obtain(f"tree:{tree}")
    assert compiled(private_cache) == ["mm/one.o"]
    assert b"changed" in second.image.read_bytes()
    assert b"changed" not in first.image.read_bytes(), "an earlier kernel stays what it was"


def test_file_that_got_older_is_compiled_too(tree: Path, private_cache: Path) -> None:
    obtain(f"tree:{tree}")
    (tree / "mm/one.c").write_text('const char one[] = "restored";\n')
    os.utime(tree / "mm/one.c", (1, 1))
    assert b"restored" in obtain(f"tree:{tree}").image.read_bytes()


def test_tree_that_changes_while_it_is_copied_is_not_built(tree: Path) -> None:
    obtain(f"tree:{tree}")
    (tree / "mm/one.c").write_text('const char one[] = "first thought";\n')
    seen = source.from_tree(TreeSpec(tree))
    (tree / "mm/one.c").write_text('const char one[] = "second thought";\n')
    with pytest.raises(LuoCtsError, match=r"changed while it was copied: mm/one\.c"):
        seen.prepare()
    assert b"second thought" in obtain(f"tree:{tree}").image.read_bytes()


def test_deleted_and_new_files_are_followed(tree: Path) -> None:
    obtain(f"tree:{tree}")
    (tree / "mm/one.c").rename(tree / "mm/three.c")
    (tree / "fs/two.c").unlink()
    image = obtain(f"tree:{tree}").image.read_bytes()
    assert (b"one" in image, b"two" in image) == (True, False)


def test_other_options_make_another_kernel(tree: Path, tmp_path: Path, private_cache: Path) -> None:
    extra = tmp_path / "extra.config"
    extra.write_text('# CONFIG_LIVEUPDATE_MEMFD is not set\nCONFIG_LOCALVERSION="-x"\n')
    plain, changed = obtain(f"tree:{tree}"), obtain(f"tree:{tree}", extra_config=[extra])
    assert plain.image != changed.image
    assert plain.config_hash != changed.config_hash
    assert runs(private_cache) == 2
    debug = obtain(f"tree:{tree}", with_debug_info=True)
    assert debug.config is not None
    assert "CONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT=y" in debug.config.read_text()


def test_modules_are_kept_where_the_configuration_has_some(tree: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra.config"
    extra.write_text("CONFIG_SAMPLE=m\n")
    kernel = obtain(f"tree:{tree}", extra_config=[extra])
    assert kernel.modules is not None
    assert [path.name for path in kernel.modules.iterdir()] == ["some.ko"]
    assert Kernel.from_json(kernel.to_json()) == kernel
    assert obtain(f"tree:{tree}").modules is None


def test_debug_information_of_one_file_is_in_its_object_alone(tree: Path, private_cache: Path) -> None:
    (tree / "mm/Makefile").write_text("obj-y += one.o\n")
    described = obtain(f"tree:{tree}", described=["mm/one.c"])
    (directory,) = private_cache.glob("builds/*")
    assert b".debug_info" in (directory / "mm/one.o").read_bytes()
    assert b".debug_info" not in (directory / "fs/two.o").read_bytes()
    plain = obtain(f"tree:{tree}")
    assert described.image != plain.image
    assert described.config_hash == plain.config_hash


def test_tree_is_never_written_to(tree: Path, tmp_path: Path) -> None:
    fix = tmp_path / "fix.patch"
    fix.write_text(FIX_ONE)
    before = state(tree)
    obtain(f"tree:{tree}")
    obtain(f"tree:{tree},patch={fix}")
    assert state(tree) == before


# Debian's kernel trees ignore everything but the packaging
DEBIAN_IGNORES = "/*\n!/debian/\n"


@pytest.mark.parametrize("ignores", ["", DEBIAN_IGNORES], ids=["upstream", "debian"])
@pytest.mark.parametrize("repository", [False, True], ids=["unpacked", "git"])
def test_tree_with_a_build_in_it_builds_and_stays(tree: Path, repository: bool, ignores: str) -> None:
    with (tree / ".gitignore").open("a") as file:
        file.write(ignores)
    if repository:
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
        for arguments in (
            ["init", "--quiet"],
            ["add", "--force", "mm/one.c"],
            ["commit", "--quiet", "-m", "some"],
            ["tag", "v9.9"],
        ):
            subprocess.run([*git, *arguments], cwd=tree, check=True)
    (tree / ".config").write_text("CONFIG_OLD=y\n")
    (tree / "mm/one.o").write_text("stale")
    before = state(tree)
    kernel = obtain(f"tree:{tree}")
    assert state(tree) == before
    assert b"stale" not in kernel.image.read_bytes()
    if repository:
        assert kernel.source == f"tree {tree} v9.9" or kernel.source.startswith(f"tree {tree} ")
        (tree / "mm/one.c").write_text("int one;\n")
        assert obtain(f"tree:{tree}").source.endswith("-dirty")


def test_patch_makes_another_kernel_and_leaves_the_rest_compiled(
    tree: Path, tmp_path: Path, private_cache: Path
) -> None:
    fix = tmp_path / "fix.patch"
    fix.write_text(FIX_ONE)
    plain = obtain(f"tree:{tree}")
    patched = obtain(f"tree:{tree},patch={fix}")
    assert compiled(private_cache) == ["mm/one.o"]
    assert b"patched" in patched.image.read_bytes()
    assert patched.source.startswith(f"tree {tree} v9.9.1 + patch fix.patch sha256:")
    assert obtain(f"tree:{tree}").image == plain.image
    # a change beside the patch: what the patch touches is up to date
    (tree / "fs/two.c").write_text("int two;\n")
    obtain(f"tree:{tree},patch={fix}")
    assert compiled(private_cache) == ["fs/two.o"]


def test_mailbox_is_decoded_and_letters_without_a_patch_are_left_out(tree: Path, tmp_path: Path) -> None:
    fix_two = patch_of("fs/two.c", 'const char two[] = "two";', 'const char two[] = "second =3D";')

    def mail(subject: str, body: str, encoding: str = "8bit") -> str:
        return (
            f"From {'0' * 40} Mon Sep 17 00:00:00 2001\nFrom: T <t@example.org>\n"
            f"Subject: {subject}\nContent-Type: text/plain; charset=UTF-8\n"
            f"Content-Transfer-Encoding: {encoding}\n\n{body}\n"
        )

    box = tmp_path / "series.mbox"
    box.write_text(
        mail("[PATCH 0/2] two things", "No patch here.\n")
        + mail("[PATCH 1/2] one", f"why\n---\n{FIX_ONE}-- \n2.39\n")
        + mail("[PATCH 2/2] two", f"why\n---\n{fix_two}-- \n2.39\n", "quoted-printable")
    )
    image = obtain(f"tree:{tree},patch={box}").image.read_bytes()
    assert b"patched" in image
    assert b"second =\0" in image


def test_directory_of_patches_is_applied_in_its_series_order(tree: Path, tmp_path: Path) -> None:
    patches = tmp_path / "patches"
    patches.mkdir()
    (patches / "b.patch").write_text(FIX_ONE)
    (patches / "a.patch").write_text(
        patch_of("mm/one.c", 'const char one[] = "patched";', 'const char one[] = "last";')
    )
    (patches / "series").write_text("# order\nb.patch\na.patch -p1\n")
    assert b"last" in obtain(f"tree:{tree},patch={patches}").image.read_bytes()


def test_patch_that_creates_and_deletes_files_is_undone(tree: Path, tmp_path: Path) -> None:
    fix = tmp_path / "fix.patch"
    fix.write_text("""\
--- /dev/null
+++ b/fs/new.c
@@ -0,0 +1 @@
+const char brandnew[] = "brandnew";
--- a/mm/one.c
+++ /dev/null
@@ -1,2 +0,0 @@
-#include "common.h"
-const char one[] = "one";
""")
    patched = obtain(f"tree:{tree},patch={fix}").image.read_bytes()
    assert (b"brandnew" in patched, b"one" in patched) == (True, False)
    plain = obtain(f"tree:{tree}").image.read_bytes()
    assert (b"brandnew" in plain, b"one" in plain) == (False, True)


def test_patch_that_does_not_apply_is_one_sentence(tree: Path, tmp_path: Path) -> None:
    fix = tmp_path / "fix.patch"
    fix.write_text(FIX_ONE.replace('"one"', '"other"'))
    with pytest.raises(UsageError, match=r"^fix\.patch does not apply: patch failed: mm/one\.c:2"):
        obtain(f"tree:{tree},patch={fix}")
    assert b"one" in obtain(f"tree:{tree}").image.read_bytes()


def test_first_compiler_error_is_shown(tree: Path) -> None:
    (tree / "mm/one.c").write_text("int one = nobody;\nint more = nobody_else;\n")
    with pytest.raises(LuoCtsError) as caught:
        obtain(f"tree:{tree}")
    assert caught.value.message == (
        f"tree {tree} v9.9.1 does not build (bzImage): "
        "mm/one.c:1:11: error: 'nobody' undeclared here (not in a function)"
    )
    assert Path(caught.value.hint.removeprefix("the whole log: ")).is_file()


def test_full_disk_is_one_sentence(tree: Path) -> None:
    (tree / "hooks/one").write_text("cp Makefile /dev/full")
    (tree / "mm/one.c").write_text("#error unfinished\n")
    with pytest.raises(LuoCtsError, match=r"^the disk is full under "):
        obtain(f"tree:{tree}")


def test_option_that_kconfig_drops_is_named(tree: Path) -> None:
    (tree / "DROP").write_text("SMP\n")
    with pytest.raises(LuoCtsError) as caught:
        obtain(f"tree:{tree}")
    assert caught.value.message == "this kernel cannot be configured with CONFIG_SMP=y"
    assert "SMP depends on BROKEN (here BROKEN=n)" in caught.value.hint


def test_missing_tools_are_named_all_at_once(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = tmp_path / "bin"
    few.mkdir()
    for name in ("make", "gcc", "ld", "git", "xargs", "cp", "perl", "lz4", "sh", "as"):
        (few / name).symlink_to(shutil.which(name) or "/bin/false")
    monkeypatch.setenv("PATH", str(few))
    with pytest.raises(LuoCtsError) as caught:
        obtain(f"tree:{tree}")
    assert str(caught.value) == "building a kernel needs flex, bison, bc (apt-get install flex bison bc)"


def start(tree: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kernel", f"tree:{tree}"]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )


@pytest.fixture
def gate(tree: Path, tmp_path: Path) -> Path:
    """Compiling fs/two.c blocks here: it says so in the first pipe, and waits for the second."""
    for name in ("reached", "open"):
        os.mkfifo(tmp_path / name)
    (tree / "hooks/two").write_text(f"echo $$ > {tmp_path}/reached; read word < {tmp_path}/open\n")
    return tmp_path


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_build_leaves_no_process_and_goes_on_later(
    sign: signal.Signals, tree: Path, gate: Path, private_cache: Path
) -> None:
    process = start(tree)
    compiling = int((gate / "reached").read_text())
    watch = os.pidfd_open(compiling)
    process.send_signal(sign)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == (2 if sign == signal.SIGINT else -sign)
    assert select.select([watch], [], [], PATIENCE)[0], "the compiler outlived the run"
    (tree / "hooks/two").unlink()
    obtain(f"tree:{tree}")
    assert "fs/two.o" in compiled(private_cache)


def test_ctrl_c_during_a_build_is_an_interrupted_run(tree: Path, gate: Path, tmp_path: Path) -> None:
    def interrupt(process: subprocess.Popen[str]) -> None:
        (gate / "reached").read_text()
        os.killpg(process.pid, signal.SIGINT)

    code = "def test_a(luo): pass"
    outcome = supervise(tmp_path / "nested", code, "--kernel", f"tree:{tree}", meanwhile=interrupt)
    assert outcome.status == 2
    assert outcome.verdicts == {"test_a": "skipped"}


def test_two_runs_at_once_build_once(tree: Path, gate: Path, private_cache: Path) -> None:
    first = start(tree)
    (gate / "reached").read_text()
    second = start(tree)
    assert second.stderr is not None
    waiting = second.stderr.readline()
    assert waiting.startswith(f"build: waiting for process {first.pid} (")
    (gate / "open").write_text("go\n")
    outputs = [process.communicate(timeout=PATIENCE) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert runs(private_cache) == 1


def test_unwritable_cache_is_one_sentence(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "occupied").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "occupied"))
    with pytest.raises(LuoCtsError, match="cannot be written") as caught:
        cache.root()
    assert "XDG_CACHE_HOME" in caught.value.hint
    process = start(tree)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (3, "")
    assert err.count("\n") == 1
    assert str(tmp_path / "occupied") in err


def test_command_line_prints_the_kernel(tree: Path) -> None:
    process = start(tree)
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    fields = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert fields["release"] == "9.9.1"
    assert Path(fields["image"]).is_file()
    wrong = subprocess.run(
        [sys.executable, "-m", "kernel", "deb:5.10"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 4
    assert wrong.stderr == textwrap.dedent("""\
        Linux 5.10 has no LUO (since 6.19) and no KHO (since 6.16) (deb:newest has both)
        """)
