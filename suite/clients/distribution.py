# SPDX-License-Identifier: GPL-2.0-only
"""The userland that the clients of live update live in: of Debian, the suite whose systemd knows of LUO."""

from suite.hosts.image import Distribution

# An emulator on a busy host now and then has the kernel take the TSC for a sixth of what it is, and all
# that systemd waits for times out; nothing can be wrong with the speed of this clock.
CMDLINE = "clocksource=acpi_pm"

# systemd 261 was the first to keep file descriptors across a kexec, and Debian has it in sid.
SID = Distribution(
    "sid",
    packages=("apparmor", "crun", "memcached", "python3-minimal", "secilc"),
    masked=(
        # It wants a D-Bus, and systemctl does without either.
        "systemd-logind.service",
        "systemd-tmpfiles-setup-dev-early.service",
        # a hundred profiles, to be compiled for minutes
        "apparmor.service",
        # Tests start it, with a memory of their own.
        "memcached.service",
    ),
    # Nothing in /usr is newer than what was made of it: no boot has to make it again.
    setup='touch "$root/etc/.updated" "$root/var/.updated"',
)
