# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The EBS volume types: ranges, ratios, and EBS's defaults.

Sizes in GiB, throughput in MiB/s. The ranges are those of CreateVolume in the EC2 API reference (gp3 as raised in
2025). The ratios come from EBS's error messages, since the reference has none.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .._kernel.errors import SpecError


@dataclass(frozen=True)
class VolumeType:
    """The rules of one type. ``iops`` and ``throughput`` are (least, most), or None if EBS takes no value.

    ``iops_per_gib`` is the most per GiB. It does not limit values up to ``free_iops``.
    """

    size: tuple[int, int]
    iops: tuple[int, int] | None = None
    iops_per_gib: int = 0
    free_iops: int = 0
    iops_required: bool = False
    throughput: tuple[int, int] | None = None
    bootable: bool = True
    multi_attach: bool = False


VOLUME_TYPES: Mapping[str, VolumeType] = {
    "gp3": VolumeType((1, 65536), iops=(3000, 80000), iops_per_gib=500, free_iops=3000, throughput=(125, 2000)),
    "gp2": VolumeType((1, 16384)),
    "io1": VolumeType((4, 16384), iops=(100, 64000), iops_per_gib=50, iops_required=True, multi_attach=True),
    "io2": VolumeType((4, 65536), iops=(100, 256000), iops_per_gib=1000, iops_required=True, multi_attach=True),
    "st1": VolumeType((125, 16384), bootable=False),
    "sc1": VolumeType((125, 16384), bootable=False),
    "standard": VolumeType((1, 1024)),
}
# The least that a request for a gp3 volume may ask for. EBS raises values below 3,000 to 3,000.
_GP3_LEAST_ASKED = 100
# gp3: "Throughput (MiBps) to iops ratio … maximum is 0.250000 MiBps per iops".
THROUGHPUT_PER_IOPS = 0.25

_GP2_IOPS = (100, 16000)
# User guide: a gp2 volume above the first size (GiB) delivers the second throughput (MiB/s), a smaller volume about as
# much as the least of gp3.
_GP2_SMALL, _GP2_THROUGHPUT = 170, 250


def normalised(volume_type: str, iops: int | None, throughput: int | None) -> tuple[int | None, int | None]:
    """Return (iops, throughput) as EBS takes them. EBS silently raises values below gp3's least.

    Recorded from EC2: with Iops=500, a gp3 volume gets 3000, and 0, 1 and 99 are refused. Throughput 0, 1 and 124
    become 125.
    """
    rules = VOLUME_TYPES.get(volume_type)
    if rules is None or volume_type != "gp3":
        return iops, throughput
    return _raised(iops, rules.iops, _GP3_LEAST_ASKED), _raised(throughput, rules.throughput, 0)


def _raised(value: int | None, limits: tuple[int, int] | None, accepted: int) -> int | None:
    """Return the value, raised to the least. A value below *accepted* stays as it is, since EBS refuses it."""
    return value if value is None or limits is None or value < accepted else max(value, limits[0])


_IO1_KNEE, _IO1_MOST, _IO2_MOST = 500, 1000, 4000
_IO1_LARGE = 64


def provisioned_throughput(volume_type: str, iops: int) -> int:
    """Return the most MiB/s that an io1 or io2 volume of *iops* delivers.

    User guide, "Provisioned IOPS SSD volumes": 256 KiB for each IOPS, up to 500 MiB/s for io1 and 4,000 MiB/s for io2.
    io1 beyond 32,000 IOPS delivers 16 KiB for each, up to 1,000 MiB/s.
    """
    if volume_type == "io2":
        return min(_IO2_MOST, int(iops * THROUGHPUT_PER_IOPS))
    return min(_IO1_MOST, max(min(_IO1_KNEE, int(iops * THROUGHPUT_PER_IOPS)), iops // _IO1_LARGE))


def kept_performance(size: int, iops: int | None) -> tuple[int, int]:
    """Return (iops, throughput) of a gp2 volume of *size* GiB and *iops* that becomes gp3 without values for them.

    User guide, "Modify an EBS volume": the performance of the gp2 volume, or gp3's baseline if that is higher.
    """
    return max(iops or 0, 3000), _GP2_THROUGHPUT if size > _GP2_SMALL else 125


def performance_of(volume_type: str, size: int, iops: int | None, throughput: int | None) -> dict[str, int | None]:
    """Return the ``{"iops", "throughput"}`` that EBS shows for a new volume of these values. None
    stands for no value.
    """
    iops, throughput = normalised(volume_type, iops, throughput)
    if volume_type == "gp3":
        return {"iops": iops or 3000, "throughput": throughput or 125}
    if volume_type == "gp2":
        least, most = _GP2_IOPS
        return {"iops": min(max(3 * size, least), most), "throughput": None}
    return {"iops": iops, "throughput": None}


def require_performance(
    what: str, volume_type: str, size: int | None, iops: int | None, throughput: int | None, *, boot: bool = False
) -> None:
    """Raise SpecError, with *what* at its beginning, unless EBS makes a volume of these values.

    None stands for no value. If *size* is None, the rules about the size are skipped.
    """
    rules = VOLUME_TYPES.get(volume_type)
    if rules is None:
        raise SpecError(f"{what}: {volume_type!r} is not a volume type. Use {', '.join(sorted(VOLUME_TYPES))}.")
    if boot and not rules.bootable:
        boots = ", ".join(sorted(name for name, item in VOLUME_TYPES.items() if item.bootable))
        raise SpecError(f"{what}: a root volume cannot be of type {volume_type}. Use {boots}.")
    if size is not None and not rules.size[0] <= size <= rules.size[1]:
        raise SpecError(f"{what}: {volume_type} takes {rules.size[0]} to {rules.size[1]} GiB, not {size}")
    if iops is None and rules.iops_required:
        least, most = rules.iops or (0, 0)
        raise SpecError(f"{what}: {volume_type} needs iops. Use {least} to {most}.")
    if iops is not None:
        _require_iops(what, volume_type, rules, size, iops)
    if throughput is not None:
        if rules.throughput is None:
            raise SpecError(f"{what}: {volume_type} takes no throughput. Remove throughput ({throughput}), or use gp3.")
        least, most = rules.throughput
        if not least <= throughput <= most:
            raise SpecError(f"{what}: {volume_type} takes {least} to {most} MiB/s, not {throughput}")
        if throughput > max(iops or 0, rules.free_iops) * THROUGHPUT_PER_IOPS:
            least = int(throughput / THROUGHPUT_PER_IOPS)
            raise SpecError(
                f"{what}: {throughput} MiB/s need at least {least} iops. Set more iops, or less throughput."
            )


def _require_iops(what: str, volume_type: str, rules: VolumeType, size: int | None, iops: int) -> None:
    if rules.iops is None:
        raise SpecError(f"{what}: {volume_type} takes no iops. Remove iops ({iops}), or use gp3, io1 or io2.")
    least, most = rules.iops
    if not least <= iops <= most:
        raise SpecError(f"{what}: {volume_type} takes {least} to {most} iops, not {iops}")
    if size is not None and iops > max(size * rules.iops_per_gib, rules.free_iops):
        most = max(size * rules.iops_per_gib, rules.free_iops)
        raise SpecError(
            f"{what}: {iops} iops on {size} GiB are more than {volume_type}'s {rules.iops_per_gib} per GiB. Use {most} "
            "or less, or a larger volume."
        )
