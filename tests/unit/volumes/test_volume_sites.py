# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Outposts, Local Zones and Wavelength Zones: nothing is made or attached there, and the refusal names the site."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.zones import is_zone, unsupported_site, zone_kind
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import IS_USABLE_ZONE
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance

from volume_plans import declared, plan_of
from volume_world import SWAP, WEB, Ec2, instance, steps, volume

OUTPOST = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"
LOCAL, WAVELENGTH = "us-west-2-lax-1a", "us-east-1-wl1-bos-wlz-1"
ON_OUTPOST = instance(facts={"OutpostArn": OUTPOST})
IN_LOCAL_ZONE = instance(zone=LOCAL)
IN_WAVELENGTH_ZONE = instance(zone=WAVELENGTH)
SITES = [
    (ON_OUTPOST, f"on the Outpost {OUTPOST}"),
    (IN_LOCAL_ZONE, f"in the Local Zone {LOCAL}"),
    (IN_WAVELENGTH_ZONE, f"in the Wavelength Zone {WAVELENGTH}"),
]


@pytest.mark.parametrize(
    ("zone", "kind"),
    [
        ("eu-central-1a", ""),
        ("us-gov-west-1b", ""),
        ("ap-southeast-2c", ""),
        (LOCAL, "Local Zone"),
        ("us-east-1-nyc-2a", "Local Zone"),
        (WAVELENGTH, "Wavelength Zone"),
        ("eu-west-2-wl1-lon-wlz-1", "Wavelength Zone"),
        ("us-east-1-wl1-nyc-wlz-1a", "Wavelength Zone"),
    ],
)
def test_kind_of_a_zone_is_in_its_name(zone: str, kind: str) -> None:
    assert is_zone(zone)
    assert zone_kind(zone) == kind
    assert unsupported_site(zone) == (f"the {kind} {zone}" if kind else "")


@pytest.mark.parametrize("zone", ["", "eu-central-1", "1a", "eu-central-1a-"])
def test_invalid_zone_is_refused(zone: str) -> None:
    assert not is_zone(zone)
    assert zone_kind(zone) == ""


@pytest.mark.parametrize(("found", "site"), SITES)
def test_nothing_is_made_for_an_instance_at_a_site(found: Instance, site: str) -> None:
    with pytest.raises(UnsafePlan) as refused:
        plan_of(declared({"name": "data", "size": 1}), Ec2(found))
    assert str(refused.value).startswith(f"volumes[0] (data) of {WEB}: {WEB} is {site}, where")


@pytest.mark.parametrize(("found", "site"), SITES)
def test_nothing_is_attached_to_an_instance_at_a_site(found: Instance, site: str) -> None:
    there = volume(1, name="data", zone=found.availability_zone)
    with pytest.raises(UnsafePlan, match="does not create or attach volumes") as refused:
        plan_of(declared({"name": "data"}), Ec2(found, there))
    assert site in str(refused.value)


@pytest.mark.parametrize(("found", "site"), SITES)
def test_nothing_is_swapped_at_a_site(found: Instance, site: str) -> None:
    there = volume(1, WEB, name="data", zone=found.availability_zone)
    with pytest.raises(UnsafePlan) as refused:
        plan_of(declared({"name": "data", "encrypted": True}, **SWAP), Ec2(found, there))
    assert site in str(refused.value)


@pytest.mark.parametrize(("found", "_site"), SITES)
def test_volume_attached_at_a_site_is_modified_and_detached(found: Instance, _site: str) -> None:
    there = volume(1, WEB, name="data", zone=found.availability_zone)
    assert steps(plan_of(declared({"name": "data"}), Ec2(found, there))) == []
    assert steps(plan_of(declared({"name": "data", "size": 20}), Ec2(found, there))) == ["ModifyVolume vol-1 Size=20"]
    gone = declared({"name": "data", "state": "detached"}, in_use="detach")
    assert steps(plan_of(gone, Ec2(found, there))) == ["DetachVolume vol-1 from i-1"]


@pytest.mark.parametrize("zone", [LOCAL, WAVELENGTH])
def test_nothing_is_kept_unattached_in_such_a_zone(zone: str) -> None:
    spec = declared({"name": "spare", "size": 1}, instance_ids=None, availability_zone=zone, spec="spares")
    with pytest.raises(UnsafePlan, match=f"availability_zone is in the .* Zone {zone}"):
        plan_of(spec, Ec2(IS_USABLE_ZONE.fact(zone, True)))
