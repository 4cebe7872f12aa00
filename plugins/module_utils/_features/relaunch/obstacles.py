# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The obstacles to replacing an instance from an image: state, architecture, hardware, and writes since the capture.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ..._domain.instance_facts import (
    read_fact,
)
from ..._kernel.errors import SpecError, UnsafePlan
from ..._kernel.facts import type_facts
from ..._kernel.ids import is_planned
from ..._kernel.resources import Image, Instance
from ..._kernel.state import State
from ..._kernel.times import parse_instant
from .options import RelaunchSpec


def refuse(troubles: Iterable[str]) -> None:
    """Raise UnsafePlan with all of these troubles, if there are any."""
    found = list(troubles)
    if found:
        raise UnsafePlan(f"the task refuses the relaunch, and has changed nothing: {'; '.join(found)}")


def usable_image(spec: RelaunchSpec, state: State) -> Image:
    """Return the image of the task.

    Raises SpecError for an image that does not exist, or from which EC2 does not launch.
    """
    image = state.image(spec.image_id)
    if image is None:
        if is_planned(spec.image_id):
            raise SpecError(f"image_id: no plan in assume makes {spec.image_id}. Add the plan that makes it")
        raise SpecError(
            f"image_id: {spec.image_id} does not exist in {state.region}, or is not shared with you. Check the id and "
            "the region"
        )
    if image.state not in ("available", "pending"):
        reason = f" ({image.state_reason})" if image.state_reason else ""
        raise SpecError(
            f"image_id: {spec.image_id} is {image.state}{reason}, so EC2 launches nothing from it. Use an available "
            "image"
        )
    if image.root_device_type != "ebs":
        raise SpecError(
            f"image_id: the root of {spec.image_id} is on {image.root_device_type}, and the module needs an EBS root. "
            "Use another image"
        )
    return image


def architecture_troubles(spec: RelaunchSpec, state: State, current: Instance, image: Image) -> Iterable[str]:
    """Yield why the image, or the type that the task names, does not fit the instance's architecture."""
    wanted = spec.overrides.instance_type
    if wanted is None:
        fits = [architecture] if (architecture := current.facts.get("Architecture")) else []
        what = current.instance_id
    else:
        info = type_facts(state, wanted)
        if not info:
            yield f"overrides.instance_type: EC2 does not offer {wanted} in {state.region}. Choose another type"
            return
        fits = list(read_fact(info, "ProcessorInfo.SupportedArchitectures") or ())
        what = f"instance_type {wanted}"
    if image.architecture is not None and fits and image.architecture not in fits:
        yield f"{image.image_id} is for {image.architecture}, but {what} is {' or '.join(fits)}"


def write_troubles(spec: RelaunchSpec, current: Instance, image: Image | None) -> Iterable[str]:
    """Yield the refusal if the image lacks writes of the instance and the task must lose none.

    A planned image will be captured from an instance that is stopped by then. *image* is None if EC2 no longer shows
    it.
    """
    if spec.lose_writes or is_planned(spec.image_id):
        return
    made = None if image is None else _moment(image.creation_date)
    launched = current.launch_time
    if current.state in ("stopping", "stopped") and (made is None or launched is None or launched <= made):
        return
    yield (
        f"lose_writes: {current.instance_id} has run since {spec.image_id} was captured, so the image lacks the "
        f"later writes. Stop {current.instance_id} and bake another version, or set lose_writes: true to accept that"
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else parse_instant(text)


def hardware_troubles(spec: RelaunchSpec, state: State, current: Instance, image: Image) -> Iterable[str]:
    """Yield why EC2 would refuse to launch the type from the image, as far as their facts show it."""
    wanted = spec.overrides.instance_type or current.instance_type
    info, what = type_facts(state, wanted), f"instance type {wanted}"
    modes = info.get("SupportedBootModes") or ()
    if modes and image.boot_mode in ("uefi", "legacy-bios") and image.boot_mode not in modes:
        yield f"{image.image_id} boots in mode {image.boot_mode}, but {what} boots only in {' or '.join(modes)}"
    kinds = info.get("SupportedVirtualizationTypes") or ()
    if kinds and image.virtualization_type is not None and image.virtualization_type not in kinds:
        yield f"{image.image_id} is for {image.virtualization_type}, but {what} takes only {' or '.join(kinds)}"
    if image.tpm_support and info.get("NitroTpmSupport") == "unsupported":
        yield f"{image.image_id} needs NitroTPM {image.tpm_support}, which {what} does not have"
    # EC2 may not know it for a planned image.
    known = image.ena_support is not None or not is_planned(image.image_id)
    if known and not image.ena_support and read_fact(info, "NetworkInfo.EnaSupport") == "required":
        yield f"{image.image_id} is not enabled for ENA, which {what} requires"
