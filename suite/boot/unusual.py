# SPDX-License-Identifier: GPL-2.0-only
"""One boot for tests that need something unusual each and do not mind what others need: boots are dear."""

import pytest

from suite.boot.scratch import scratch

CRASH_SIZE = 192 << 20

# Scratch areas large enough for a kernel to boot in, and too small for the crash kernel even all together.
# Freed memory is poisoned, so that a session that is used after its end shows (6.19: luo_session_retrieve()).
UNUSUAL = pytest.mark.boot(f"crashkernel={CRASH_SIZE} {scratch('32M,64M,64M')} slab_debug=FZPU")
