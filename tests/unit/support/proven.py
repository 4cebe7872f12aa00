# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts that EC2 shows on honest resources, for tests that build them without EC2."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._kernel import tags as tag_names
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import client_token
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.instance_proofs import launch_identity
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance


def launched(successor: Instance) -> Instance:
    """The successor with the ClientToken of its launch: by a relaunch of the first id that its tag names."""
    first, *_older = tag_names.replaced_ids(successor.tags) or ("",)
    token = client_token(launch_identity(first, successor.image_id)) if first else ""
    return dataclasses.replace(successor, facts={"ClientToken": token, **successor.facts})


def stopped_at(moment: datetime) -> Mapping[str, Any]:
    """The facts of an instance that somebody stopped through EC2's API at this time."""
    return {
        "StateTransitionReason": f"User initiated ({moment:%Y-%m-%d %H:%M:%S} GMT)",
        "StateReason": {"Code": "Client.UserInitiatedShutdown", "Message": "Client.UserInitiatedShutdown"},
    }
