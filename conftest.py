# SPDX-License-Identifier: GPL-2.0-only
"""Everything is in the plugin, so that harness tests can load it as well."""

pytest_plugins = ["fixtures.plugin"]
