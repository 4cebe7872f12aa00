# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a world without calls: images, instances, volumes, and snapshots by the hundred thousand.

``seed(world, spec)`` takes a JSON-able mapping; each kind as a list, or as one mapping under its singular name:

``account``, ``region``: where; the default account and us-east-1 unless said.

``image``/``images``: ``name``; ``architecture`` (x86_64), ``virtualization`` (hvm), ``root_device_name`` (/dev/xvda),
``root`` (an Ebs mapping, 8 GiB gp3), ``devices`` (``[{device, ...Ebs}]``), ``facts`` (rows of Image such as EnaSupport,
BootMode, TpmSupport, ImdsSupport; ENA support is there unless it is set to false), ``platform``, ``platform_details``,
``usage_operation``, ``product_codes`` (they stay with the snapshots), ``uefi_data``, ``tags``, ``description``,
``root_device_type``, ``public``, ``deprecated`` (seconds since then), ``age`` (seconds since it was made, a day),
``launched`` (seconds since the last launch), ``snapshot_tags`` and ``snapshot_description`` (``{image}`` is its id),
``unhealthy`` (what is launched from it fails its status check), ``launch_failure`` (``[code, message]``: what is
launched from it is terminated instead of running), ``encrypted`` and ``kms_key_id``.

``instance``/``instances``: ``name``; ``image`` (a name of this call, or an id; without it one is made, for all),
``state`` (running or stopped), ``instance_type`` (t3.micro), ``data_volumes`` (a number, or ``[{name, device, tags,
delete_on_termination, ...Ebs}]``; they are attached after the launch, so they stay when it is terminated), ``tags``
(Name is the name unless said), ``volume_tags``, ``elastic_ip``, ``instance_profile`` (a name; made with a role when
missing), ``key_name`` (imported when missing), ``user_data`` (text), ``spot`` (one-time or persistent),
``auto_scaling`` (``{group, lifecycle_state}``), ``operator`` (the principal of a managed instance), ``unhealthy``,
``launched`` (seconds ago), ``options`` (parameters of RunInstances).

``auto_scaling_group``/``auto_scaling_groups``: ``name``, ``template`` (the id of a launch template), ``version``
($Default), ``instances`` (2; or a list of ``{version, lifecycle, health, protected}``), ``mixed`` (its launch template
stands in a mixed instances policy), ``health_check`` (EC2) and ``target_groups`` (ARNs).

``volume``/``volumes``: parameters of CreateVolume with ``name`` and ``tags``; available at once, in the first zone
unless said.

``recipe``/``recipes``: Image Builder's, ``name``, ``image`` (a name of this call, or an id), ``container`` (a container
recipe instead of an image recipe).

``load``/``loads``: the activity of a volume that CloudWatch shows while a running instance has it. ``volume`` (a name
of this call, or an id), ``ago`` (seconds, 0) and ``seconds`` (60), ``read_iops``, ``write_iops``, ``read_mibps`` and
``write_mibps`` (0).

``product``/``products``: of AWS's price list, beside those that are always there: ``family``, ``usage``, ``unit``,
``usd``, ``region`` (that of the call) and ``attributes``.

``write``/``writes``: blocks that are written to a volume: ``volume``, ``ago`` (seconds, 0), ``first`` (the first block,
0) and ``blocks`` (their number).

``snapshots``: one mapping or a list of them, of two kinds. In bulk: ``count`` or ``times`` (of each volume; ISO 8601,
or seconds ago), ``volumes`` (how many source volumes, 1, or their names and ids; an unknown id is a volume long gone),
``size`` (8), ``every`` (seconds between two of one volume, 86400), ``newest`` (the time of the last, unless said
``every`` ago), ``name`` (gets the list of their ids). Single ones: ``name``, ``volume`` (name of this call or id; what
it held then; with ``size`` also one long gone) and ``age`` (seconds) or ``at`` (ISO 8601). Both take ``tags`` (any,
also aws: ones) and ``description``; ``{volume}``, ``{number}`` and ``{start}`` in these stand for what they name. Both
take ``encrypted``, ``kms_key_id``, ``shared_with`` (accounts, or all), ``state`` (completed, pending or error, with
``message``), ``copied`` (they are copies; ``source`` is a name or id), ``archived`` (seconds since then) and
``restored`` (days, from now), ``lock`` (``{mode, days, cool_off, age}``: hours, and seconds since it was locked) and
``fast_restore`` (zones in which it is enabled).

An image, an instance and a volume take ``id``: the id that it gets. Nothing else may have it.

Returns ids by name: ``web``, ``web/root``, ``web/data1``, ``web/elastic_ip`` (the address), ``image`` names, and for
bulk snapshots ``snapshots`` (their number) and ``snapshot_volumes`` (the ids of their source volumes). Raises
ValueError for unknown keys and names, and Ec2Error where EC2 would refuse.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from .changed_blocks import add_write
from .engine import DEFAULT_ACCOUNT, Request
from .instance_refreshes import Group, Member, number_of
from .instances import run_instances
from .keys import key_arn
from .metrics import add_load
from .price_list import product
from .snapshots import COPY_VOLUME_ID
from .volumes import attach, create_volume, performance, zone_names
from .world import (
    FastRestore,
    Frozen,
    Image,
    Instance,
    Lock,
    Mark,
    Power,
    Region,
    Shape,
    Snapshot,
    Tiering,
    Volume,
    is_id,
    stamp,
)

if TYPE_CHECKING:
    from .engine import World

DEFAULT_REGION = "us-east-1"
DEFAULT_IMAGE = "base"
DEFAULT_TYPE = "t3.micro"
_DATA_DEVICES = [f"/dev/sd{letter}" for letter in "fghijklmnop"]
_KEYS = {
    "account", "auto_scaling_group", "auto_scaling_groups", "region", "image", "images", "instance", "instances",
    "volume", "volumes", "snapshots", "recipe", "recipes", "load", "loads",
    "write", "writes", "product", "products",
}  # fmt: skip


def seed(world: World, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Make the resources of the specification (see the module's text), all present now; returns ids by name."""
    unknown = set(spec) - _KEYS
    if unknown:
        raise ValueError(f"seed does not know {', '.join(sorted(unknown))}; it knows {', '.join(sorted(_KEYS))}")
    with world.lock:
        names = _Seeding(world, spec).perform(spec)
        world.settle()
        return names


def _rows(spec: Mapping[str, Any], one: str, many: str) -> list[Mapping[str, Any]]:
    rows = list(spec.get(many) or [])
    if spec.get(one) is not None:
        rows.append(spec[one])
    return rows


class _Seeding:
    """One call: ids by name, and the account and region in which it works."""

    def __init__(self, world: World, spec: Mapping[str, Any]) -> None:
        self.world = world
        self.account = str(spec.get("account") or DEFAULT_ACCOUNT)
        self.region_name = str(spec.get("region") or DEFAULT_REGION)
        self.now: datetime = world.clock.now()
        self.names: dict[str, Any] = {}

    @property
    def home(self) -> Region:
        return self.world.region(self.account, self.region_name)

    def request(self, action: str, params: Shape) -> Request:
        """A request that is not logged and meets no faults."""
        return Request(action, params, self.account, self.region_name, self.now, self.world)

    def moto(self, action: str, params: Shape) -> Shape:
        return self.request(action, {}).moto(action, params)

    def perform(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        for row in _rows(spec, "image", "images"):
            self.image(row)
        for row in _rows(spec, "recipe", "recipes"):
            self.recipe(row)
        for row in _rows(spec, "volume", "volumes"):
            self.volume(row)
        for row in _rows(spec, "instance", "instances"):
            self.instance(row)
        for row in _rows(spec, "auto_scaling_group", "auto_scaling_groups"):
            self.auto_scaling_group(row)
        for row in _rows(spec, "load", "loads"):
            add_load(self.world, row, str(self.names.get(row["volume"], row["volume"])))
        for row in _rows(spec, "write", "writes"):
            add_write(self.world, dict(row), str(self.names.get(row["volume"], row["volume"])))
        for row in _rows(spec, "product", "products"):
            region = row.get("region") or self.region_name
            more = row.get("attributes")
            made = product(row["family"], row["usage"], row["unit"], float(row["usd"]), region, more)
            self.world.products.append(made)
        snapshots = spec.get("snapshots") or []
        for row in [snapshots] if isinstance(snapshots, Mapping) else snapshots:
            if "count" in row or "times" in row:
                self.bulk(row)
            else:
                self.snapshot(row)
        return self.names

    def _take(self, row: Mapping[str, Any], kind: str, known: Iterable[str]) -> dict[str, Any]:
        unknown = set(row) - set(known)
        if unknown:
            raise ValueError(
                f"seed: {kind} does not know {', '.join(sorted(unknown))}; it knows {', '.join(sorted(known))}"
            )
        return dict(row)

    def _choose(self, prefix: str, row: Mapping[str, Any]) -> None:
        """Let the next resource have the row's id, if it names one."""
        if row.get("id"):
            if not is_id(prefix, str(row["id"])):
                raise ValueError(f"seed: {row['id']} is no id of the kind {prefix}-")
            self.world.chosen_ids[prefix] = str(row["id"])

    # --- images ---

    def image(self, given: Mapping[str, Any]) -> Image:
        """A registered, available image whose snapshots hold one mark each."""
        row = self._take(given, "image", _IMAGE_KEYS)
        name = row.get("name") or DEFAULT_IMAGE
        device = row.get("root_device_name") or "/dev/xvda"
        codes = tuple(row.get("product_codes") or ())
        made = self.now - timedelta(seconds=float(row.get("age") or 86400.0))
        devices = [{"device": device, **(row.get("root") or {})}, *(row.get("devices") or [])]
        store = row.get("root_device_type") == "instance-store"
        mappings = []
        for one in [] if store else devices:
            ebs = {key: value for key, value in one.items() if key != "device"}
            mappings.append(self._mapping(one["device"], ebs, name, made, codes, row))
        facts = {"EnaSupport": True, "SriovNetSupport": "simple", **(row.get("facts") or {})}
        self._choose("ami", row)
        image = Image(
            id=self.world.new_id("ami"),
            name=name,
            owner=self.account,
            created=made,
            ready=made,
            mappings=mappings,
            root_device_name=device,
            root_device_type=row.get("root_device_type") or "ebs",
            architecture=row.get("architecture") or "x86_64",
            virtualization=row.get("virtualization") or "hvm",
            description=row.get("description") or "",
            location=f"{self.account}/{name}",
            platform=row.get("platform") or "",
            platform_details=row.get("platform_details") or "Linux/UNIX",
            usage_operation=row.get("usage_operation") or "RunInstances",
            product_codes=codes,
            facts={key: value for key, value in facts.items() if value not in (None, False)},
            uefi_data=row.get("uefi_data") or "",
            tags=dict(row.get("tags") or {}),
            unhealthy=bool(row.get("unhealthy")),
            launch_failure=tuple(row["launch_failure"]) if row.get("launch_failure") else None,
            launch_permissions=[{"Group": "all"}] if row.get("public") else [],
            deprecated=None
            if row.get("deprecated") is None
            else self.now - timedelta(seconds=float(row["deprecated"])),
            launches=[self.now - timedelta(seconds=float(row["launched"]))] if row.get("launched") else [],
        )
        for snapshot_id in image.snapshot_ids():
            snapshot = self.home.snapshots[snapshot_id]
            snapshot.tags = dict(row.get("snapshot_tags") or {})
            snapshot.description = str(row.get("snapshot_description") or "").replace("{image}", image.id)
        self.home.images[image.id] = image
        self.names[name] = image.id
        for mapping in mappings:
            self.names[f"{name}/{'root' if mapping['DeviceName'] == device else mapping['DeviceName']}"] = mapping[
                "Ebs"
            ]["SnapshotId"]
        return image

    def recipe(self, given: Mapping[str, Any]) -> None:
        """A recipe of Image Builder that begins with an image."""
        row = self._take(given, "recipe", ("name", "image", "container"))
        kind = "container-recipe" if row.get("container") else "image-recipe"
        arn = f"arn:aws:imagebuilder:{self.region_name}:{self.account}:{kind}/{row.get('name') or 'recipe'}/1.0.0"
        resource_type = "imagebuilder:ContainerRecipe" if row.get("container") else "imagebuilder:ImageRecipe"
        self.home.recipes.append((resource_type, self._image_id(row.get("image")), arn))

    def _mapping(
        self, device: str, given: Shape, image: str, made: datetime, codes: tuple[str, ...], row: Mapping[str, Any]
    ) -> Shape:
        ebs = {"VolumeSize": 8, "VolumeType": "gp3", "DeleteOnTermination": True, **given}
        iops, throughput = performance(ebs["VolumeType"], ebs["VolumeSize"], ebs.get("Iops"), ebs.get("Throughput"))
        key = key_arn(self.request("CreateVolume", {}), row.get("kms_key_id")) if row.get("encrypted") else None
        snapshot = self._snapshot_of_nothing(f"{image} {device}", ebs["VolumeSize"], made, codes, key)
        ebs |= {"SnapshotId": snapshot.id, "Encrypted": snapshot.encrypted}
        if ebs["VolumeType"] in ("gp3", "io1", "io2"):
            ebs["Iops"] = iops
        if ebs["VolumeType"] == "gp3":
            ebs["Throughput"] = throughput
        return {"DeviceName": device, "Ebs": ebs}

    def _snapshot_of_nothing(
        self, text: str, size: int, made: datetime, codes: tuple[str, ...], key: str | None
    ) -> Snapshot:
        """A completed snapshot of a volume that is long gone, holding one mark."""
        volume = Volume(
            id=self.world.new_id("vol"), created=made, ready=made, zone=f"{self.region_name}a", size=size, type="gp3",
            delete_asked=made, deleted=made, added=[Mark(made, text)],
        )  # fmt: skip
        self.home.volumes[volume.id] = volume
        snapshot = Snapshot(
            id=self.world.new_id("snap"), number=self.home.next_number(), owner=self.account, volume_id=volume.id,
            volume_size=size, created=made, completes=made, held=Frozen(volume, made), encrypted=key is not None,
            kms_key_id=key, product_codes=codes,
        )  # fmt: skip
        self.home.snapshots[snapshot.id] = snapshot
        return snapshot

    # --- volumes ---

    def volume(self, given: Mapping[str, Any]) -> Volume:
        """A volume that is available now, holding one mark."""
        row = dict(given)
        name, tags = row.pop("name", None), row.pop("tags", None) or {}
        self._choose("vol", row)
        row.pop("id", None)
        request = self.request("CreateVolume", row)
        if "AvailabilityZone" not in row and "AvailabilityZoneId" not in row:
            row["AvailabilityZone"] = next(iter(zone_names(request)))
        row.setdefault("VolumeType", "gp3")
        if "Size" not in row and "SnapshotId" not in row:
            row["Size"] = 8
        answer = create_volume(request)
        volume = self.home.volumes[str((answer or {})["VolumeId"])]
        volume.ready, volume.tags = self.now, dict(tags)
        volume.added.append(Mark(self.now, "seeded"))
        if name:
            self.names[name] = volume.id
        return volume

    # --- instances ---

    def instance(self, given: Mapping[str, Any]) -> Instance:
        """An instance that runs (or is stopped) now.

        Each attached volume has the marks of its image and one mark of its own.
        """
        row = self._take(given, "instance", _INSTANCE_KEYS)
        name = str(row.get("name") or "web")
        image_id = self._image_id(row.get("image"))
        options = dict(row.get("options") or {})
        options |= self._options(row)
        parameters = {
            "ImageId": image_id,
            "InstanceType": row.get("instance_type") or DEFAULT_TYPE,
            "MinCount": 1,
            "MaxCount": 1,
            **options,
        }
        with self.world.moto.instance_id(row.get("id")):
            answer = run_instances(self.request("RunInstances", parameters))
        instance = self.home.instances[str((answer or {})["Instances"][0]["InstanceId"])]
        instance.tags |= {"Name": name, **(row.get("tags") or {})}
        instance.operator = row.get("operator") or ""
        instance.unhealthy = instance.unhealthy or bool(row.get("unhealthy"))
        self._settle(instance, float(row.get("launched") or 0.0), dict(row.get("volume_tags") or {}))
        self.names[name] = instance.id
        for volume, attachment in self.home.devices(instance, self.now):
            self.names[f"{name}/{'root' if attachment.device == instance.root_device_name else attachment.device}"] = (
                volume.id
            )
        self._data_volumes(instance, name, row)
        if row.get("spot"):
            self._spot(instance, str(row["spot"]))
        if row.get("elastic_ip"):
            allocated = self.moto("AllocateAddress", {"Domain": "vpc"})
            self.moto("AssociateAddress", {"InstanceId": instance.id, "AllocationId": allocated["AllocationId"]})
            self.names[f"{name}/elastic_ip"] = allocated["PublicIp"]
            self.names[f"{name}/allocation"] = allocated["AllocationId"]
        if row.get("auto_scaling"):
            self._auto_scaling(instance, row["auto_scaling"])
        if row.get("state", "running") == "stopped":
            instance.power.append(Power("stopped", self.now, self.now, "stopping", _STOPPED, "User initiated"))
            self.moto("StopInstances", {"InstanceIds": [instance.id]})
        elif row.get("state", "running") != "running":
            raise ValueError(f"seed: an instance is running or stopped, not {row['state']}")
        return instance

    def _image_id(self, named: str | None) -> str:
        if named is None:
            found = [one.id for one in self.home.images.values() if one.name == DEFAULT_IMAGE and not one.deregistered]
            return found[0] if found else self.image({}).id
        if named in self.names:
            return str(self.names[named])
        by_name = [one.id for one in self.home.images.values() if one.name == named and not one.deregistered]
        return by_name[0] if by_name else named

    def _options(self, row: Mapping[str, Any]) -> Shape:
        options: Shape = {}
        if row.get("user_data") is not None:
            options["UserData"] = base64.b64encode(str(row["user_data"]).encode()).decode("ascii")
        if row.get("key_name"):
            names = {one["KeyName"] for one in self.moto("DescribeKeyPairs", {}).get("KeyPairs", [])}
            if row["key_name"] not in names:
                self.moto("CreateKeyPair", {"KeyName": row["key_name"]})
            options["KeyName"] = row["key_name"]
        if row.get("instance_profile"):
            self._profile(str(row["instance_profile"]))
            options["IamInstanceProfile"] = {"Name": row["instance_profile"]}
        return options

    def _profile(self, name: str) -> None:
        from moto.iam.models import iam_backends

        backend = iam_backends[self.account]["aws"]
        if name not in {one.name for one in backend.get_instance_profiles()}:
            trust = '{"Version":"2012-10-17","Statement":[]}'
            backend.create_role(name, trust, "/", "", "", [], "3600")
            backend.create_instance_profile(name, "/", [], [])
            backend.add_role_to_instance_profile(name, name)

    def _settle(self, instance: Instance, launched: float, tags: dict[str, str]) -> None:
        """End the launch at once: the instance runs from now on, with any launch time."""
        power = instance.power[0]
        if power.state != "running":
            raise ValueError("seed: the image of this instance fails its launches")
        power.asked, power.done, power.reason = self.now - timedelta(seconds=launched), self.now, None
        instance.created = power.asked
        # The status checks have passed, too.
        for volume, attachment in self.home.devices(instance, self.now):
            volume.created = volume.ready = attachment.asked = power.asked
            attachment.attached = self.now
            volume.tags |= tags
            volume.added.append(Mark(self.now, "seeded"))
        instance.checked = self.now

    def _data_volumes(self, instance: Instance, name: str, row: Mapping[str, Any]) -> None:
        asked = row.get("data_volumes") or []
        rows = [{} for _turn in range(asked)] if isinstance(asked, int) else [dict(one) for one in asked]
        free = [
            one
            for one in _DATA_DEVICES
            if one not in {each.device for _v, each in self.home.devices(instance, self.now)}
        ]
        for number, one in enumerate(rows, start=1):
            label = one.pop("name", None) or f"data{number}"
            device = one.pop("device", None) or next(device for device in free)
            free = [each for each in free if each != device]
            delete = bool(one.pop("delete_on_termination", False))
            tags = {**(row.get("volume_tags") or {}), **(one.pop("tags", None) or {})}
            volume = self.volume({"AvailabilityZone": instance.zone, **one, "tags": tags})
            attachment = attach(self.home, volume, instance, device, self.now, delete_on_termination=delete)
            attachment.attached = self.now
            self.names[f"{name}/{label}"] = volume.id

    def _spot(self, instance: Instance, kind: str) -> None:
        if kind not in ("one-time", "persistent"):
            raise ValueError(f"seed: a spot request is one-time or persistent, not {kind}")
        instance.spot = {
            "SpotInstanceRequestId": self.world.new_id("sir"),
            "Type": kind,
            "InstanceInterruptionBehavior": "stop" if kind == "persistent" else "terminate",
            "Tags": {},
        }

    def _auto_scaling(self, instance: Instance, given: Mapping[str, Any]) -> None:
        """Make the instance a member of a group in moto, so that the calls of Auto Scaling find it there."""
        from moto.autoscaling.models import autoscaling_backends

        row = self._take(given, "auto_scaling", ("group", "lifecycle_state"))
        backend = autoscaling_backends[self.account][self.region_name]
        group = str(row.get("group") or "group")
        if group not in backend.autoscaling_groups:
            backend.create_launch_configuration(
                name=group, image_id=instance.image_id, key_name=None, kernel_id="", ramdisk_id="", security_groups=[],
                user_data=None, instance_type=instance.type, instance_monitoring=False, instance_profile_name=None,
                spot_price=None, ebs_optimized=False, associate_public_ip_address=False, block_device_mappings=[],
            )  # fmt: skip
            backend.create_auto_scaling_group(
                name=group, availability_zones=[instance.zone], desired_capacity=0, max_size=100, min_size=0,
                launch_config_name=group, launch_template={}, vpc_zone_identifier=None, default_cooldown=None,
                health_check_period=None, health_check_type=None, load_balancers=[], target_group_arns=[],
                placement_group=None, termination_policies=[], tags=[],
            )  # fmt: skip
        backend.attach_instances(group, [instance.id])
        for one in backend.autoscaling_groups[group].instance_states:
            if one.instance.id == instance.id:
                one.lifecycle_state = row.get("lifecycle_state") or "InService"
        instance.tags["aws:autoscaling:groupName"] = group

    def auto_scaling_group(self, given: Mapping[str, Any]) -> None:
        """A group whose members are in service."""
        known = ("name", "template", "version", "instances", "mixed", "health_check", "target_groups")
        row = self._take(given, "auto_scaling_group", known)
        template = str(row["template"])
        found = self.moto("DescribeLaunchTemplates", {"LaunchTemplateIds": [template]})["LaunchTemplates"][0]
        group = Group(
            str(row["name"]), template, found["LaunchTemplateName"], str(row.get("version") or "$Default"),
            self.account, self.region_name, mixed=bool(row.get("mixed")),
            health_check=row.get("health_check") or "EC2", target_groups=tuple(row.get("target_groups") or ()),
        )  # fmt: skip
        members = row.get("instances", 2)
        for one in [{}] * members if isinstance(members, int) else members:
            version = str(one.get("version") or number_of(self.world, group, group.version))
            group.members.append(Member(self.world.new_id("i"), **{**one, "version": version}))
        self.world.scaling_groups.setdefault((self.account, self.region_name), {})[group.name] = group
        self.names[group.name] = [one.id for one in group.members]

    # --- snapshots ---

    def snapshot(self, given: Mapping[str, Any]) -> Snapshot:
        """One snapshot of a volume as it was ``age`` seconds ago (0: as it is), or at a time."""
        row = self._take(given, "snapshot", ("name", "volume", "age", "at", *_SNAPSHOT_KEYS))
        named = str(self.names.get(str(row.get("volume")), row.get("volume")))
        if named not in self.home.volumes and not row.get("size"):
            self.home.volume(named)  # raises EC2's error for the volume
        made = self._time(row["at"] if row.get("at") is not None else float(row.get("age") or 0.0))
        (snapshot,) = self._snapshots(row, [(made, named)], self._plan(row))
        if row.get("name"):
            self.names[row["name"]] = snapshot.id
        return snapshot

    def bulk(self, given: Mapping[str, Any]) -> None:
        """Many snapshots, evenly over volumes and in time; those of volumes that are long gone hold nothing."""
        row = self._take(given, "snapshots", ("name", "count", "times", "volumes", "every", "newest", *_SNAPSHOT_KEYS))
        volumes = row.get("volumes") or 1
        ids = (
            [self.world.new_id("vol") for _turn in range(volumes)]
            if isinstance(volumes, int)
            else [str(self.names.get(one, one)) for one in volumes]
        )
        if row.get("times") is not None:
            places = [(moment, volume) for moment in sorted(map(self._time, row["times"])) for volume in ids]
        else:
            every = timedelta(seconds=float(row.get("every") or 86400.0))
            newest = self._time(row["newest"]) if row.get("newest") is not None else self.now - every
            rounds = (int(row["count"]) + len(ids) - 1) // len(ids)
            moments = [newest - every * (rounds - 1 - turn) for turn in range(rounds)]
            places = [(moments[one // len(ids)], ids[one % len(ids)]) for one in range(int(row["count"]))]
        made = self._snapshots(row, places, self._plan(row))
        if row.get("name"):
            self.names[row["name"]] = [one.id for one in made]
        self.names["snapshots"] = self.names.get("snapshots", 0) + len(made)
        self.names["snapshot_volumes"] = [*self.names.get("snapshot_volumes", []), *ids]

    def _time(self, value: Any) -> datetime:
        """A time given as ISO 8601 (UTC unless it says), or as seconds ago."""
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return self.now - timedelta(seconds=float(value))

    def _plan(self, row: Mapping[str, Any]) -> Shape:
        """The fields that all snapshots of a row have in common."""
        state = row.get("state") or "completed"
        if state not in ("completed", "pending", "error"):
            raise ValueError(f"seed: a snapshot is completed, pending or error, not {state}")
        plan: Shape = {
            "description": row.get("description") or "",
            "failure": (row.get("message") or "Internal failure") if state == "error" else "",
            "shared_with": frozenset(row.get("shared_with") or ()),
            "copied": bool(row.get("copied")),
            "source_id": str(self.names.get(str(row.get("source")), row.get("source") or "")),
        }
        if row.get("encrypted") or row.get("kms_key_id"):
            plan |= {"encrypted": True, "kms_key_id": key_arn(self.request("", {}), row.get("kms_key_id"))}
        if row.get("archived") is not None:
            moved = self._time(float(row["archived"]))
            plan |= {"tierings": (Tiering("archival", moved, moved),), "shared_until": moved}
            if row.get("restored"):
                until = self.now + timedelta(days=float(row["restored"]))
                plan["tierings"] += (Tiering("temporary-restore", self.now, self.now, until),)
        if row.get("lock"):
            plan["lock"] = self._lock(row["lock"])
        return plan

    def _lock(self, given: Mapping[str, Any]) -> Lock:
        row = self._take(given, "lock", ("mode", "days", "cool_off", "age"))
        made, cool_off = self._time(float(row.get("age") or 0.0)), row.get("cool_off")
        return Lock(
            row.get("mode") or "governance", made, made, made + timedelta(days=float(row["days"])), int(row["days"]),
            cool_off, made + timedelta(hours=cool_off) if cool_off else None,
        )  # fmt: skip

    def _snapshots(
        self, row: Mapping[str, Any], places: Iterable[tuple[datetime, str]], plan: Mapping[str, Any]
    ) -> list[Snapshot]:
        """One snapshot per moment and volume."""
        home, new_id, pending = self.home, self.world.new_id, row.get("state") == "pending"
        tags, size = dict(row.get("tags") or {}), int(row.get("size") or 0)
        varying = {key: value for key, value in tags.items() if any(one in value for one in _PLACEHOLDERS)}
        copied = bool(plan["copied"])
        described = any(one in plan["description"] for one in _PLACEHOLDERS)
        made = []
        for number, (moment, volume_id) in enumerate(places):
            volume = home.volumes.get(volume_id)
            fields = dict(plan)
            if volume is not None:
                fields |= {"product_codes": volume.product_codes}
                if volume.encrypted and "encrypted" not in fields:
                    fields |= {"encrypted": True, "kms_key_id": volume.kms_key_id}
            stands: dict[str, str] = {}
            if varying or described:
                stands = dict(zip(_PLACEHOLDERS, (volume_id, str(number), stamp(moment)), strict=True))
            if described:
                fields["description"] = _filled(fields["description"], stands)
            if varying:
                fields["tags"] = {**tags, **{key: _filled(value, stands) for key, value in varying.items()}}
            else:
                fields["tags"] = tags
            snapshot = Snapshot(
                id=new_id("snap"), number=home.next_number(), owner=self.account,
                volume_id=COPY_VOLUME_ID if copied else volume_id,
                volume_size=size or (volume.size if volume is not None else 8), created=moment,
                completes=home.moment("snapshot_pending", self.now) if pending else moment,
                held=Frozen(volume, moment), lineage=volume_id if copied else "", **fields,
            )  # fmt: skip
            if copied:
                home.add_copy(snapshot)
            else:
                home.snapshots[snapshot.id] = snapshot
            if pending and volume is not None:
                volume.pending_snapshots = [*volume.pending_snapshots, snapshot.completes]
            for zone in row.get("fast_restore") or ():
                zone_id = zone_names(self.request("", {}))[zone]
                home.fast_restores[snapshot.id, zone] = FastRestore(
                    snapshot.id, zone, zone_id, self.account, self.now, self.now, self.now
                )
            made.append(snapshot)
        return made


_PLACEHOLDERS = ("{volume}", "{number}", "{start}")


def _filled(text: str, stands: Mapping[str, str]) -> str:
    for name, value in stands.items():
        text = text.replace(name, value)
    return text


_SNAPSHOT_KEYS = (
    "tags", "description", "size", "encrypted", "kms_key_id", "shared_with", "state", "message", "copied", "source",
    "archived", "restored", "lock", "fast_restore",
)  # fmt: skip
_IMAGE_KEYS = (
    "id", "name", "architecture", "virtualization", "root_device_name", "root", "devices", "facts", "platform",
    "platform_details", "usage_operation", "product_codes", "uefi_data", "tags", "description", "root_device_type",
    "public", "deprecated", "unhealthy", "launch_failure", "encrypted", "kms_key_id", "age", "launched",
    "snapshot_tags", "snapshot_description",
)  # fmt: skip
_INSTANCE_KEYS = (
    "id", "name", "image", "state", "instance_type", "data_volumes", "tags", "volume_tags", "elastic_ip",
    "instance_profile", "key_name", "user_data", "spot", "auto_scaling", "operator", "unhealthy", "launched", "options",
)  # fmt: skip
_STOPPED = {
    "Code": "Client.UserInitiatedShutdown",
    "Message": "Client.UserInitiatedShutdown: User initiated shutdown",
}
