# SPDX-License-Identifier: GPL-2.0-only
"""The disk of a host that a virtual machine plays: a Debian with systemd and an OpenSSH server, on ext4."""

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kernel import cache
from kernel.debian import system_mirror
from kernel.errors import LuoCtsError
from kernel.progress import step

_EVERYWHERE = ("systemd-sysv", "openssh-server", "iproute2", "sudo")


@dataclass(frozen=True)
class Distribution:
    """What a host's disk holds: a suite of Debian's, and what is installed beyond what every host has.

    ``masked`` units do not start, whoever asks for them; ``setup`` is a shell script's last lines, for which
    the new root directory is ``$root``.
    """

    suite: str
    packages: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    setup: str = ""


DEBIAN_12 = Distribution("bookworm")

# Room for the packages, for the kernels of a run and for the journal; the file is sparse.
SIZE = "1536M"

# Everything that makes a boot longer and is nobody's business here: emulated, it would take half a minute.
# The kernel has no modules, makes /dev by itself and mounts its root read-write.
_MASKED = (
    # what a host does now and then
    "apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer "
    "e2scrub_reap.service systemd-tmpfiles-clean.timer "
    # who sits in front of it
    "getty@.service serial-getty@.service systemd-ask-password-wall.path systemd-ask-password-console.path "
    "systemd-user-sessions.service systemd-update-utmp.service systemd-update-utmp-runlevel.service "
    # what an installer has done for good
    "systemd-sysusers.service systemd-tmpfiles-setup.service systemd-tmpfiles-setup-dev.service "
    "systemd-firstboot.service systemd-random-seed.service systemd-machine-id-commit.service "
    # devices, modules and file systems that it has not
    "modprobe@.service systemd-modules-load.service systemd-network-generator.service "
    "systemd-remount-fs.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount "
    "dev-hugepages.mount dev-mqueue.mount sys-kernel-tracing.mount sys-kernel-config.mount "
    "sys-fs-fuse-connections.mount systemd-sysctl.service systemd-timesyncd.service"
)

# What is given to all hosts: QEMU's user network hands out one address, and each has a network of its own.
_NETWORK = """\
[Unit]
DefaultDependencies=no
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link set lo up
ExecStart=ip address add 10.0.2.15/24 dev eth0
ExecStart=ip link set eth0 up
[Install]
WantedBy=multi-user.target
"""

# The host's own policy, as an administrator would write it.
_SUDOERS = "ci ALL=(root) NOPASSWD: ALL\n"

_SETUP = """\
set -e
root=$1
echo host >"$root/etc/hostname"
: >"$root/etc/fstab"
printf '{network}' >"$root/etc/systemd/system/host-network.service"
mkdir -p "$root/var/log/journal" "$root/root/.ssh"
printf '{sudoers}' >"$root/etc/sudoers.d/ci"
chmod 440 "$root/etc/sudoers.d/ci"
chmod 700 "$root/root/.ssh"
for unit in {masked}; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
chroot "$root" systemctl enable host-network ssh
chroot "$root" systemctl set-default multi-user.target
chroot "$root" useradd --create-home --shell /bin/sh ci
chroot "$root" useradd --create-home --shell /bin/sh nobody-special
for user in ci nobody-special; do mkdir -m 700 "$root/home/$user/.ssh"; done
rm -f "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
{more}
"""


def tree(of: Distribution) -> Path:
    """A tar of the root file system, in the cache. Takes a minute the first time."""
    texts = {"sudoers": _SUDOERS, "network": _NETWORK}
    masked = " ".join([_MASKED, *of.masked])
    quoted = {name: text.replace("\n", "\\n") for name, text in texts.items()}
    setup = _SETUP.format(masked=masked, more=of.setup, **quoted)
    told = "\n".join([of.suite, *_EVERYWHERE, *of.packages, setup])
    path = cache.root() / "hosts" / f"{of.suite}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.tar"
    if path.exists():
        return path
    for command, package in (("mmdebstrap", "mmdebstrap"), ("mke2fs", "e2fsprogs")):
        if shutil.which(command) is None:
            raise LuoCtsError(f"{command} is not installed", f"on Debian: apt-get install {package}")
    with cache.locked("hosts"):
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            with step(f"host image: Debian {of.suite}"):
                _bootstrap(path, of, setup)
    return path


def _bootstrap(path: Path, of: Distribution, setup: str) -> None:
    unfinished = path.with_suffix(".new.tar")
    script = path.with_suffix(".sh")
    script.write_text(setup)
    done = subprocess.run(
        [
            "mmdebstrap", "--quiet", "--variant=minbase",
            f"--include={','.join([*_EVERYWHERE, *of.packages])}", *_system_options(),
            "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            f"--customize-hook=sh {script} \"$1\"",
            of.suite, str(unfinished), system_mirror(),
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


def _system_options() -> list[str]:
    """Of apt's own: whether old lists will do. mmdebstrap itself asks the system for its proxies only."""
    key = "Acquire::Check-Valid-Until"
    done = subprocess.run(["apt-config", "shell", "value", key], capture_output=True, text=True, check=False)
    said = done.stdout.strip().removeprefix("value=").strip("'")
    return [f'--aptopt={key} "{said}"'] if said else []


def disk(path: Path, identity: Path, of: Distribution) -> None:
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
        ["sh", "-c", script, "disk", str(path), str(tree(of)), str(identity), SIZE],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LuoCtsError(f"the disk {path} cannot be made: {done.stderr.strip()[-300:]}")
