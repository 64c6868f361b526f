# SPDX-License-Identifier: GPL-2.0-only
"""The disk of a host that a virtual machine plays: Debian 12, systemd and an OpenSSH server, on ext4."""

import hashlib
import shutil
import subprocess
from pathlib import Path

from kernel import cache
from kernel.debian import system_mirror
from kernel.errors import LuoCtsError
from kernel.progress import step

SUITE = "bookworm"
PACKAGES = ("systemd-sysv", "openssh-server", "udev", "sudo", "kmod")
# Room for the packages, for the kernels of a run and for the journal; the file is sparse.
SIZE = "1536M"

# Everything that makes a boot longer and is nobody's business here.
_MASKED = (
    "apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer "
    "e2scrub_reap.service getty@tty1.service serial-getty@ttyS0.service systemd-timesyncd.service "
    "systemd-update-utmp.service"
)

# The host's own policy, as an administrator would write it.
_SUDOERS = "ci ALL=(root) NOPASSWD: ALL\n"

_SETUP = """\
set -e
root=$1
echo host >"$root/etc/hostname"
printf '/dev/vda / ext4 defaults 0 1\\n' >"$root/etc/fstab"
mkdir -p "$root/var/log/journal" "$root/root/.ssh"
printf '{sudoers}' >"$root/etc/sudoers.d/ci"
chmod 440 "$root/etc/sudoers.d/ci"
chmod 700 "$root/root/.ssh"
ln -sf /dev/null "$root/etc/systemd/system/systemd-networkd-wait-online.service"
for unit in {masked}; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
chroot "$root" systemctl enable systemd-networkd ssh
chroot "$root" useradd --create-home --shell /bin/sh ci
chroot "$root" useradd --create-home --shell /bin/sh nobody-special
for user in ci nobody-special; do mkdir -m 700 "$root/home/$user/.ssh"; done
rm -f "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
"""


def tree() -> Path:
    """A tar of the root file system, in the cache. Takes a minute the first time."""
    setup = _SETUP.format(sudoers=_SUDOERS.replace("\n", "\\n"), masked=_MASKED)
    told = "\n".join([SUITE, *PACKAGES, setup])
    path = cache.root() / "hosts" / f"{SUITE}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.tar"
    if path.exists():
        return path
    for command, package in (("mmdebstrap", "mmdebstrap"), ("mke2fs", "e2fsprogs")):
        if shutil.which(command) is None:
            raise LuoCtsError(f"{command} is not installed", f"on Debian: apt-get install {package}")
    with cache.locked("hosts"):
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            with step(f"host image: Debian {SUITE}"):
                _bootstrap(path, setup)
    return path


def _bootstrap(path: Path, setup: str) -> None:
    unfinished = path.with_suffix(".new.tar")
    script = path.with_suffix(".sh")
    script.write_text(setup)
    done = subprocess.run(
        [
            "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}",
            "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            f"--customize-hook=sh {script} \"$1\"",
            SUITE, str(unfinished), system_mirror(),
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    script.unlink()
    if done.returncode:
        unfinished.unlink(missing_ok=True)
        said = " ".join(done.stderr.splitlines()[-3:])
        raise LuoCtsError(f"mmdebstrap does not make the host's image: {said[:400]}", "is there a network?")
    unfinished.rename(path)


def disk(path: Path, identity: Path) -> None:
    """Make a host's disk at ``path``; the files below ``identity`` are its own, its keys and names."""
    # -d of mke2fs takes directories only: the tar is unpacked and packed as root of a user namespace.
    script = """
set -e
mkdir "$1.d"
tar -x -C "$1.d" -f "$2"
cp -a --no-preserve=ownership "$3"/. "$1.d"
for user in ci nobody-special; do chroot "$1.d" chown -R $user: /home/$user; done
truncate -s "$4" "$1"
mke2fs -q -t ext4 -O ^metadata_csum_seed -d "$1.d" "$1"
rm -rf "$1.d"
"""
    done = subprocess.run(
        ["sh", "-c", script, "disk", str(path), str(tree()), str(identity), SIZE],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LuoCtsError(f"the disk {path} cannot be made: {done.stderr.strip()[-300:]}")
