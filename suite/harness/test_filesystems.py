# SPDX-License-Identifier: GPL-2.0-only
"""Which file systems are frozen before a machine with disks jumps."""

from fixtures.filesystems import disks

MOUNTINFO = """\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
22 21 0:6 / /dev rw,relatime shared:2 - devtmpfs devtmpfs rw
23 21 0:21 / /proc rw,nosuid shared:5 - proc proc rw
24 21 0:30 / /run rw shared:6 - tmpfs tmpfs rw
25 21 8:1 / /srv/with\\040space rw shared:7 - xfs /dev/sda1 rw
26 25 7:0 / /srv/with\\040space/loop rw shared:8 - ext4 /dev/loop0 rw
27 21 254:0 /var/lib /mnt/bind rw shared:1 - ext4 /dev/root rw
28 21 0:40 / /home rw - nfs4 server:/home rw
"""
FILESYSTEMS = "nodev\tproc\nnodev\ttmpfs\nnodev\tdevtmpfs\nnodev\tnfs4\n\text4\n\txfs\n"


def test_disks_are_frozen_each_once_and_the_upper_ones_first() -> None:
    assert disks(MOUNTINFO, FILESYSTEMS) == ["/srv/with space/loop", "/srv/with space", "/"]


def test_machine_without_disks_has_none() -> None:
    assert disks("1 1 0:2 / / rw - rootfs none rw\n", "nodev\trootfs\n") == []
