# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The regions that exist. A region that does not exist has no endpoint."""

from __future__ import annotations

from functools import cache

from botocore.loaders import Loader


@cache
def region_names() -> frozenset[str]:
    """The regions in which EC2 has an endpoint, of all partitions, as botocore lists them."""
    partitions = Loader().load_data("endpoints")["partitions"]
    return frozenset(region for one in partitions for region in one["services"].get("ec2", {}).get("endpoints", ()))
