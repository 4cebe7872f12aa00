# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of real AWS to real requests: facts in our own words, each with its source.

A row has one request and the known part of its answer. Words in braces are resources of `SCENERY`, or ids that earlier
calls of the row gave; "caller" is the account that makes the call. Add a row for every answer of EC2 that surprises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

HOME, OTHER = "123456789012", "111122223333"
HERE, THERE = "us-east-1", "us-west-2"
ZONE = "us-east-1a"

STACKD = "radkawar/stackd: testdata/aws"
"""Calls and answers of two accounts in us-east-1, recorded in September 2026."""
AMAZON_AWS = "ansible-collections/amazon.aws: tests/integration/targets"
"""Integration tests that pass on AWS."""
API = "EC2 API reference"


class Absent:
    """The answer has no such member."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = Absent()


@dataclass(frozen=True)
class Call:
    """One request. gives: names for ids of its answer, by their place in it ("SnapshotId")."""

    operation: str
    params: Mapping[str, Any] = field(default_factory=dict)
    caller: str = HOME
    region: str = HERE
    service: str = "ec2"
    gives: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """code and text of a refusal, or shows: what stands in the answer, by place ("Snapshots.0.Tags").

    before: calls that come first. source: who recorded or documented it.
    """

    name: str
    source: str
    call: Call
    code: str = ""
    text: str = ""
    shows: Mapping[str, Any] = field(default_factory=dict)
    before: Sequence[Call] = ()


SCENERY: dict[str, Any] = {
    "volumes": [
        {"name": "volume", "Size": 2, "VolumeType": "gp3"},
        {"name": "gp2", "Size": 500, "VolumeType": "gp2"},
        {"name": "sealed-volume", "Size": 1, "Encrypted": True},
    ],
    "snapshots": [
        {"name": "snapshot", "volume": "volume", "tags": {"suite": "owner"}},
        {"name": "plain", "volume": "volume"},
        {"name": "shared", "volume": "volume", "tags": {"suite": "owner"}, "shared_with": [OTHER]},
        {"name": "sealed", "volume": "sealed-volume"},
    ],
    "instance": {"name": "instance"},
    "image": {"name": "image"},
}
"""Made anew for each row; everything in it is completed, available or running."""


def described(snapshot: str, **more: Any) -> Call:
    return Call("DescribeSnapshots", {"SnapshotIds": [snapshot]}, **more)


def copying(**params: Any) -> Call:
    return Call("CopySnapshot", {"SourceRegion": HERE, "SourceSnapshotId": "{plain}", **params})


def sharing(snapshot: str = "{plain}", **change: Any) -> Call:
    return Call("ModifySnapshotAttribute", {"SnapshotId": snapshot, "CreateVolumePermission": change})


def volume(**params: Any) -> Call:
    return Call("CreateVolume", {"AvailabilityZone": ZONE, **params})


def new_key(**more: Any) -> Call:
    return Call("CreateKey", {}, service="kms", gives={"key": "KeyMetadata.Arn", "key-id": "KeyMetadata.KeyId"}, **more)


NO_KEY = f"arn:aws:kms:{HERE}:{HOME}:key/fe4d2634-186d-4adc-8a7f-ca163060dafc"
_COPY_CONTROLS = f"{STACKD}/ebs/copy_controls.json"
_COPY_DATA = f"{STACKD}/ebs/copy_data.json"
_COPY_FAILURES = f"{STACKD}/ebs/copy_data_failures.json"

COPIES = (
    Row(
        "copy-with-a-key-that-does-not-exist",
        _COPY_DATA,
        copying(Encrypted=True, KmsKeyId=NO_KEY),
        "InvalidParameterValue",
        f"The specified keyId {NO_KEY} is invalid",
    ),
    Row(
        "copy-with-an-alias-that-does-not-exist",
        _COPY_FAILURES,
        copying(Encrypted=True, KmsKeyId="alias/missing"),
        "InvalidParameterValue",
        "The specified keyId alias/missing is invalid",
    ),
    Row(
        "copy-with-a-disabled-key",
        _COPY_FAILURES,
        copying(Encrypted=True, KmsKeyId="{key}"),
        "InvalidParameterValue",
        "The specified keyId {key} is disabled",
        before=(new_key(), Call("DisableKey", {"KeyId": "{key-id}"}, service="kms")),
    ),
    Row(
        "copy-with-a-key-that-the-caller-may-not-use",
        _COPY_DATA,
        copying(Encrypted=True, KmsKeyId="{key}"),
        "AuthFailure",
        "Not authorized to use key {key}",
        before=(new_key(caller=OTHER),),
    ),
    Row("copy-from-no-region", _COPY_CONTROLS, copying(SourceRegion="not-a-region"), "InvalidRegion", "not-a-region"),
    Row("copy-from-an-empty-region", _COPY_CONTROLS, copying(SourceRegion=""), "InvalidRegion", "valid region name"),
    Row(
        "copy-from-the-wrong-region-fails-later",
        _COPY_CONTROLS,
        described("{copy}"),
        shows={"Snapshots.0.State": "error", "Snapshots.0.StateMessage": "Source snapshot is not found"},
        before=(
            Call("CopySnapshot", {"SourceRegion": THERE, "SourceSnapshotId": "{plain}"}, gives={"copy": "SnapshotId"}),
        ),
    ),
    Row(
        "copy-of-a-malformed-id",
        _COPY_CONTROLS,
        copying(SourceSnapshotId="bad"),
        "InvalidParameterValue",
        "The specified snapshotId is invalid",
    ),
    *(
        Row(
            f"copy-within-{minutes}-minutes",
            _COPY_CONTROLS,
            copying(CompletionDurationMinutes=minutes, DryRun=True),
            "DryRunOperation" if fine else "InvalidParameterValue",
            "" if fine else "15 minute increments",
        )
        for minutes, fine in ((0, False), (14, False), (15, True), (16, False), (2880, True), (2881, False))
    ),
    Row(
        "copy-does-not-inherit",
        _COPY_CONTROLS,
        described("{copy}"),
        shows={"Snapshots.0.Description": "", "Snapshots.0.Tags": ABSENT, "Snapshots.0.VolumeId": "vol-ffffffff"},
        before=(
            Call(
                "CopySnapshot", {"SourceRegion": HERE, "SourceSnapshotId": "{snapshot}"}, gives={"copy": "SnapshotId"}
            ),
        ),
    ),
    Row("untagged-copy-answers-without-tags", _COPY_DATA, copying(), shows={"Tags": ABSENT}),
    Row("copy-with-encryption-off", _COPY_DATA, copying(Encrypted=False), shows={"Tags": ABSENT}),
    Row(
        "an-encrypted-source-has-no-unencrypted-copy",
        _COPY_DATA,
        described("{copy}"),
        shows={"Snapshots.0.Encrypted": True},
        before=(
            Call(
                "CopySnapshot",
                {"SourceRegion": HERE, "SourceSnapshotId": "{sealed}", "Encrypted": False},
                gives={"copy": "SnapshotId"},
            ),
        ),
    ),
    Row(
        "timed-copy",
        _COPY_CONTROLS,
        described("{copy}"),
        shows={"Snapshots.0.TransferType": "time-based", "Snapshots.0.CompletionDurationMinutes": 15},
        before=(
            Call(
                "CopySnapshot",
                {"SourceRegion": HERE, "SourceSnapshotId": "{plain}", "CompletionDurationMinutes": 15},
                gives={"copy": "SnapshotId"},
            ),
        ),
    ),
    Row(
        "private-source-of-another-account",
        _COPY_CONTROLS,
        described("{copy}", caller=OTHER),
        shows={"Snapshots.0.State": "error", "Snapshots.0.StateMessage": "Source snapshot is not found"},
        before=(
            Call(
                "CopySnapshot",
                {"SourceRegion": HERE, "SourceSnapshotId": "{plain}"},
                caller=OTHER,
                gives={"copy": "SnapshotId"},
            ),
        ),
    ),
)

_SHARING = f"{STACKD}/ebs/sharing_controls.json"
_TAGS = f"{STACKD}/ebs/sharing_data_tags.json"
_SUITE = [{"Key": "suite", "Value": "recipient"}]


def tagged(value: str, caller: str, snapshot: str = "{shared}") -> Call:
    filters = [{"Name": "snapshot-id", "Values": [snapshot]}, {"Name": "tag:suite", "Values": [value]}]
    return Call("DescribeSnapshots", {"Filters": filters}, caller=caller)


def tagging(caller: str, snapshot: str = "{shared}") -> Call:
    return Call("CreateTags", {"Resources": [snapshot], "Tags": _SUITE}, caller=caller)


def attribute(snapshot: str, name: str = "createVolumePermission", **more: Any) -> Call:
    return Call("DescribeSnapshotAttribute", {"SnapshotId": snapshot, "Attribute": name}, **more)


def legacy(**params: Any) -> Call:
    return Call("ModifySnapshotAttribute", {"SnapshotId": "{plain}", "UserIds": [OTHER], **params})


SHARED = (
    *(
        Row(
            f"share-with-the-account-{name}",
            _SHARING,
            sharing(Add=[{"UserId": OTHER}, {"UserId": user}]),
            "InvalidAMIAttributeItemValue",
            f"UserId {user}",
        )
        for name, user in (("text", "not-an-account"), ("hyphens", "9175-4600-8205"), ("short", "123"), ("empty", ""))
    ),
    *(
        Row(
            f"{change.lower()}-an-unknown-group",
            _SHARING,
            sharing(**{change: [{"Group": "everyone"}]}),
            "InvalidAMIAttributeItemValue",
            "UserGroup everyone",
        )
        for change in ("Add", "Remove")
    ),
    Row("share-an-empty-item", _SHARING, sharing(Add=[{}]), "InvalidParameterCombination", "No attributes specified."),
    Row(
        "share-by-another-attribute",
        _SHARING,
        legacy(Attribute="productCodes", OperationType="add"),
        "InvalidParameterValue",
        "Unrecognized attribute.",
    ),
    Row("share-without-attribute", _SHARING, legacy(OperationType="add"), "MissingParameter", "attribute is invalid"),
    Row(
        "share-without-operation",
        _SHARING,
        legacy(Attribute="createVolumePermission"),
        "InvalidParameterCombination",
        "No operation specified for createVolumePermission attribute.",
    ),
    Row(
        "share-with-oneself-changes-nothing",
        _SHARING,
        attribute("{plain}"),
        shows={"CreateVolumePermissions": []},
        before=(sharing(Add=[{"UserId": HOME}]),),
    ),
    Row(
        "a-failed-change-shares-with-nobody",
        _SHARING,
        attribute("{plain}"),
        shows={"CreateVolumePermissions": [{"UserId": OTHER}]},
        before=(sharing(Add=[{"UserId": OTHER}, {"UserId": OTHER}]),),
    ),
    Row(
        "five-hundred-and-one-changes",
        f"{STACKD}/ebs/sharing_data_limits.json",
        sharing(Add=[{"UserId": HOME}] * 501),
        "InvalidParameterValue",
        "Modification size must not be greater than 500.",
    ),
    Row(
        "an-encrypted-snapshot-cannot-be-public",
        _SHARING,
        sharing("{sealed}", Add=[{"Group": "all"}]),
        "OperationNotPermitted",
        "Encrypted snapshots cannot be shared publicly.",
    ),
    Row(
        "a-snapshot-of-the-default-key-cannot-be-shared",
        _SHARING,
        sharing("{sealed}", Add=[{"UserId": OTHER}]),
        "OperationNotPermitted",
        "Encrypted snapshots with EBS default key cannot be shared",
    ),
    Row(
        "one-attribute-is-answered",
        f"{AMAZON_AWS}/ec2_snapshot",
        attribute("{plain}"),
        shows={"CreateVolumePermissions": [], "ProductCodes": ABSENT},
    ),
    Row(
        "the-other-attribute-is-answered",
        _SHARING,
        attribute("{plain}", "productCodes"),
        shows={"ProductCodes": [], "CreateVolumePermissions": ABSENT},
    ),
    Row(
        "attribute-of-a-shared-snapshot",
        _SHARING,
        attribute("{shared}", caller=OTHER),
        "InvalidSnapshot.NotFound",
    ),
    Row("tags-of-a-shared-snapshot", _TAGS, described("{shared}", caller=OTHER), shows={"Snapshots.0.Tags": ABSENT}),
    Row("find-by-the-owners-tag", _TAGS, tagged("owner", OTHER), shows={"Snapshots": []}),
    Row("tag-a-private-snapshot", _TAGS, tagging(OTHER, "{plain}"), "InvalidSnapshot.NotFound"),
    Row(
        "the-recipients-tag-is-its-own",
        _TAGS,
        described("{shared}", caller=OTHER),
        shows={"Snapshots.0.Tags": _SUITE},
        before=(tagging(OTHER),),
    ),
    Row(
        "the-owner-does-not-see-the-recipients-tag",
        _TAGS,
        described("{shared}"),
        shows={"Snapshots.0.Tags": [{"Key": "suite", "Value": "owner"}]},
        before=(tagging(OTHER),),
    ),
    Row(
        "find-by-the-recipients-tag",
        _TAGS,
        tagged("recipient", OTHER),
        shows={"Snapshots.0.SnapshotId": "{shared}"},
        before=(tagging(OTHER),),
    ),
    Row(
        "the-owner-does-not-find-by-it",
        _TAGS,
        tagged("recipient", HOME),
        shows={"Snapshots": []},
        before=(tagging(OTHER),),
    ),
    Row(
        "the-recipients-tag-outlives-the-sharing",
        f"{STACKD}/ebs/sharing_data_tags_settled.json",
        Call("DescribeTags", {"Filters": [{"Name": "resource-id", "Values": ["{shared}"]}]}, caller=OTHER),
        shows={"Tags.0.Value": "recipient"},
        before=(tagging(OTHER), sharing("{shared}", Remove=[{"UserId": OTHER}])),
    ),
    Row(
        "delete-a-shared-snapshot",
        f"{STACKD}/ebs/sharing_data_settled.json",
        Call("DeleteSnapshot", {"SnapshotId": "{shared}"}, caller=OTHER),
        "InvalidSnapshot.NotFound",
    ),
)

_VOLUME_DATA = f"{STACKD}/ebs/volume_data.json"
_SNAPSHOT_CONTROLS = f"{STACKD}/ebs/volume_data_snapshot_controls.json"

SNAPSHOTS = (
    Row(
        "untagged-snapshot",
        f"{_VOLUME_DATA}; {AMAZON_AWS}/ec2_snapshot",
        Call("CreateSnapshot", {"VolumeId": "{volume}"}),
        shows={"Tags": [], "State": "pending", "Progress": "", "TransferType": ABSENT, "StorageTier": ABSENT},
    ),
    Row(
        "every-snapshot-has-a-transfer-type",
        _SNAPSHOT_CONTROLS,
        described("{snapshot}"),
        shows={"Snapshots.0.TransferType": "standard", "Snapshots.0.StorageTier": "standard"},
    ),
    Row(
        "two-identical-requests-make-two",
        _SNAPSHOT_CONTROLS,
        Call("DescribeSnapshots", {"SnapshotIds": ["{one}", "{two}"]}),
        shows={"Snapshots.1.Description": "same"},
        before=(
            Call("CreateSnapshot", {"VolumeId": "{volume}", "Description": "same"}, gives={"one": "SnapshotId"}),
            Call("CreateSnapshot", {"VolumeId": "{volume}", "Description": "same"}, gives={"two": "SnapshotId"}),
        ),
    ),
    Row("an-untagged-snapshot-has-no-tags", _SHARING, described("{plain}"), shows={"Snapshots.0.Tags": ABSENT}),
    Row(
        "a-snapshot-of-an-image-is-in-use",
        f"{STACKD}/ec2/images_snapshot_references.json",
        Call("DeleteSnapshot", {"SnapshotId": "{image/root}"}),
        "InvalidSnapshot.InUse",
        "The snapshot {image/root} is currently in use by {image}",
    ),
    Row(
        "dry-run-does-not-see-the-use",
        f"{STACKD}/ec2/images_snapshot_references.json",
        Call("DeleteSnapshot", {"SnapshotId": "{image/root}", "DryRun": True}),
        "DryRunOperation",
    ),
    Row(
        "ids-and-a-page-size",
        API,
        Call("DescribeSnapshots", {"SnapshotIds": ["{plain}"], "MaxResults": 5}),
        "InvalidParameterCombination",
    ),
    *(
        Row(
            f"a-filter-without-values-finds-no-{what.lower()}",
            f"{STACKD}/ebs/volume_controls.json",
            Call(f"Describe{what}", {"Filters": [{"Name": name, "Values": []}]}),
            shows={what: []},
        )
        for what, name in (("Volumes", "volume-id"), ("Snapshots", "tag:suite"), ("Images", "name"))
    ),
    Row(
        "a-region-that-does-not-exist",
        "a credential scope of another region: AWS general reference, troubleshooting of signatures",
        Call("DescribeVolumes", {}, region="us-moon-1"),
        "AuthFailure",
    ),
)

_VOLUMES = f"{STACKD}/ebs/volume_controls.json"
_BOUNDS = f"{STACKD}/ebs/volume_controls_bounds.json"

VOLUMES = (
    Row("no-zone", _VOLUMES, Call("CreateVolume", {"Size": 1}), "MissingParameter"),
    Row("neither-size-nor-snapshot", _VOLUMES, volume(), "MissingParameter"),
    Row(
        "unknown-zone",
        _VOLUMES,
        Call("CreateVolume", {"Size": 1, "AvailabilityZone": "us-east-1z"}),
        "InvalidZone.NotFound",
    ),
    Row("no-type-is-gp2", _VOLUMES, volume(Size=1), shows={"VolumeType": "gp2", "Iops": 100}),
    Row("the-type-in-capitals", _VOLUMES, volume(Size=1, VolumeType="GP3"), shows={"VolumeType": "gp3"}),
    Row(
        "gp3-shows-its-baseline",
        _VOLUMES,
        volume(Size=1, VolumeType="gp3"),
        shows={"Iops": 3000, "Throughput": 125, "MultiAttachEnabled": False, "Tags": [], "SnapshotId": ""},
    ),
    Row("little-throughput", _BOUNDS, volume(Size=1, VolumeType="gp3", Throughput=1), shows={"Throughput": 125}),
    Row("five-hundred-iops", _BOUNDS, volume(Size=1, VolumeType="gp3", Iops=500), shows={"Iops": 3000}),
    *(
        Row(
            f"{iops}-iops-on-one-gib",
            _BOUNDS if iops < 2999 else _VOLUMES,
            volume(Size=1, VolumeType="gp3", Iops=iops),
            "InvalidParameterValue",
            text,
        )
        for iops, text in (
            (0, "Volume iops of 0 is too low; minimum is 100."),
            (1, "Volume iops of 1 is too low; minimum is 100."),
            (501, "Iops to volume size ratio of 501.000000 is too high; maximum is 500"),
            (2999, "too high; maximum is 500"),
        )
    ),
    Row(
        "throughput-of-gp2",
        _BOUNDS,
        volume(Size=1, VolumeType="gp2", Throughput=0),
        "InvalidParameterCombination",
        "The throughput parameter is not supported for gp2 volumes.",
    ),
    *(
        Row(
            f"negative-{name.lower()}",
            _BOUNDS,
            volume(Size=1, VolumeType="gp3", **{name: -1}),
            "InvalidParameterValue",
            f"Value (-1) for parameter {name.lower()} is invalid. Value must be a positive integer.",
        )
        for name in ("Iops", "Throughput")
    ),
    Row(
        "iops-per-gib", _VOLUMES, volume(Size=1, VolumeType="gp3", Iops=3001), "InvalidParameterValue", "maximum is 500"
    ),
    Row(
        "throughput-per-iops",
        _VOLUMES,
        volume(Size=8, VolumeType="gp3", Throughput=751),
        "InvalidParameterValue",
        "maximum is 0.25",
    ),
    Row("iops-of-gp2", _VOLUMES, volume(Size=1, VolumeType="gp2", Iops=100), "InvalidParameterCombination"),
    Row("io2-without-iops", _VOLUMES, volume(Size=4, VolumeType="io2"), "InvalidParameterCombination"),
    Row("small-st1", _VOLUMES, volume(Size=1, VolumeType="st1"), "InvalidParameterValue", "minimum is 125"),
    Row("large-standard", _VOLUMES, volume(Size=1025, VolumeType="standard"), "InvalidParameterValue"),
    Row(
        "tags-of-another-kind",
        _VOLUMES,
        volume(Size=1, TagSpecifications=[{"ResourceType": "snapshot", "Tags": _SUITE}]),
        "InvalidParameterValue",
    ),
    Row(
        "reserved-tags",
        _VOLUMES,
        volume(Size=1, TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "aws:x", "Value": ""}]}]),
        "InvalidParameterValue",
    ),
    Row(
        "smaller-than-its-snapshot",
        _SNAPSHOT_CONTROLS,
        volume(SnapshotId="{plain}", VolumeType="gp3", Size=1),
        shows={"Size": 2, "Iops": 3000, "Throughput": 125, "SnapshotId": "{plain}"},
    ),
    *(
        Row(
            f"volume-with-{name}-vanishes",
            f"{API}: CreateVolume, KmsKeyId: the action can appear to complete, but eventually fails",
            Call("DescribeVolumes", {"VolumeIds": ["{made}"]}),
            "InvalidVolume.NotFound",
            "The volume '{made}' does not exist.",
            before=(
                new_key(caller=OTHER),
                Call(
                    "CreateVolume",
                    {"AvailabilityZone": ZONE, "Size": 1, "Encrypted": True, "KmsKeyId": key},
                    gives={"made": "VolumeId"},
                ),
            ),
        )
        for name, key in (("no-key", NO_KEY), ("no-alias", "alias/missing"), ("a-key-of-another-account", "{key}"))
    ),
    Row(
        "rate-out-of-range",
        f"{STACKD}/ebs/volume_controls_initialization.json",
        volume(SnapshotId="{plain}", VolumeInitializationRate=99),
        "InvalidParameterValue",
        "The value specified for VolumeInitializationRate is not in the allowed range.",
    ),
    Row(
        "private-snapshot-of-another-account",
        _VOLUME_DATA,
        Call("CreateVolume", {"AvailabilityZone": ZONE, "SnapshotId": "{plain}"}, caller=OTHER),
        "InvalidSnapshot.NotFound",
    ),
    Row(
        "encryption-off-for-an-encrypted-snapshot",
        _VOLUME_DATA,
        volume(SnapshotId="{sealed}", Encrypted=False),
        "InvalidParameterCombination",
    ),
    Row(
        "nothing-to-modify",
        _VOLUMES,
        Call("ModifyVolume", {"VolumeId": "{volume}"}),
        "InvalidParameterValue",
        "Must specify at least one of size, type, iops, throughput or multi-attach.",
    ),
    Row(
        "shrink",
        _VOLUMES,
        Call("ModifyVolume", {"VolumeId": "{volume}", "Size": 1}),
        "InvalidParameterValue",
        "New size cannot be smaller than existing size",
    ),
    Row(
        "dry-run-of-a-shrink",
        _VOLUMES,
        Call("ModifyVolume", {"VolumeId": "{volume}", "Size": 1, "DryRun": True}),
        "DryRunOperation",
    ),
    Row(
        "the-same-size-is-a-modification",
        _VOLUMES,
        Call("ModifyVolume", {"VolumeId": "{volume}", "Size": 2}),
        shows={"VolumeModification.TargetSize": 2},
    ),
    Row(
        "the-fifth-modification",
        _BOUNDS,
        Call("ModifyVolume", {"VolumeId": "{volume}", "Size": 2}),
        "VolumeModificationRateExceeded",
        "before you can issue the next modification request for this volume",
        before=(Call("ModifyVolume", {"VolumeId": "{volume}", "Size": 2}),) * 4,
    ),
    Row(
        "a-volume-that-was-never-modified",
        _VOLUMES,
        Call("DescribeVolumesModifications", {"VolumeIds": ["{volume}"]}),
        "InvalidVolumeModification.NotFound",
    ),
    *(
        Row(
            f"filter-{name}",
            _BOUNDS,
            Call("DescribeVolumesModifications", {"Filters": [{"Name": name, "Values": ["true"]}]}),
            code,
            shows={} if code else {"VolumesModifications": []},
        )
        for name, code in (
            ("target-multi-attach-enabled", ""),
            ("original-multi-attach-enabled", ""),
            ("targetMultiAttachEnabled", "InvalidParameterValue"),
        )
    ),
    Row(
        "delete-what-is-just-made",
        f"{STACKD}/ebs/volume_controls_deletion.json",
        Call("DeleteVolume", {"VolumeId": "{made}"}),
        before=(Call("CreateVolume", {"AvailabilityZone": ZONE, "Size": 1}, gives={"made": "VolumeId"}),),
    ),
    Row(
        "a-token-whose-volume-is-deleted",
        _BOUNDS,
        volume(Size=1, ClientToken="{instance}"),
        "IdempotentParameterMismatch",
        "deleted",
        before=(
            Call(
                "CreateVolume",
                {"AvailabilityZone": ZONE, "Size": 1, "ClientToken": "{instance}"},
                gives={"made": "VolumeId"},
            ),
            Call("DeleteVolume", {"VolumeId": "{made}"}),
        ),
    ),
    Row("a-long-token", _VOLUMES, volume(Size=1, ClientToken="x" * 65), "InvalidParameterValue"),
    Row(
        "a-token-that-was-used-for-another-size",
        _VOLUMES,
        volume(Size=2, ClientToken="{instance}"),
        "IdempotentParameterMismatch",
        before=(volume(Size=1, ClientToken="{instance}"),),
    ),
    Row(
        "the-same-token-by-zone-id",
        _VOLUMES,
        Call("CreateVolume", {"AvailabilityZoneId": "{zone-id}", "Size": 1, "ClientToken": "{instance}"}),
        shows={"VolumeId": "{made}"},
        before=(
            Call(
                "CreateVolume",
                {"AvailabilityZone": ZONE, "Size": 1, "ClientToken": "{instance}"},
                gives={"made": "VolumeId", "zone-id": "AvailabilityZoneId"},
            ),
        ),
    ),
    Row(
        "gp2-to-gp3-keeps-its-throughput",
        "EBS user guide: Modify a volume, gp2 to gp3",
        Call("ModifyVolume", {"VolumeId": "{gp2}", "VolumeType": "gp3"}),
        shows={"VolumeModification.TargetThroughput": 250, "VolumeModification.TargetIops": 3000},
    ),
    Row(
        "small-gp2-to-gp3-gets-the-baseline",
        _VOLUMES,
        Call("ModifyVolume", {"VolumeId": "{made}", "VolumeType": "gp3"}),
        shows={"VolumeModification.TargetThroughput": 125, "VolumeModification.TargetIops": 3000},
        before=(Call("CreateVolume", {"AvailabilityZone": ZONE, "Size": 1}, gives={"made": "VolumeId"}),),
    ),
    *(
        Row(
            f"multi-attach-io1-refuses-{name}",
            f"{STACKD}/ebs/volume_controls_io.json",
            Call("ModifyVolume", {"VolumeId": "{made}", **change}),
            "InvalidParameterValue",
            "io1 volumes with Multi-Attach enabled do not support modify-volume actions.",
            before=(
                Call(
                    "CreateVolume",
                    {
                        "AvailabilityZone": ZONE,
                        "Size": 4,
                        "VolumeType": "io1",
                        "Iops": 100,
                        "MultiAttachEnabled": True,
                    },
                    gives={"made": "VolumeId"},
                ),
            ),
        )
        for name, change in (
            ("the-same-size", {"Size": 4}),
            ("another-type", {"VolumeType": "gp3", "MultiAttachEnabled": False}),
            ("single-attach", {"MultiAttachEnabled": False}),
        )
    ),
    Row(
        "status-right-after-creation",
        _BOUNDS,
        Call("DescribeVolumeStatus", {"VolumeIds": ["{made}"]}),
        shows={
            "VolumeStatuses.0.VolumeId": "{made}",
            "VolumeStatuses.0.AvailabilityZone": ZONE,
            "VolumeStatuses.0.Actions": [],
            "VolumeStatuses.0.Events": [],
            "VolumeStatuses.0.VolumeStatus": {
                "Details": [
                    {"Name": "io-enabled", "Status": "passed"},
                    {"Name": "io-performance", "Status": "not-applicable"},
                ],
                "Status": "ok",
            },
        },
        before=(Call("CreateVolume", {"AvailabilityZone": ZONE, "Size": 1}, gives={"made": "VolumeId"}),),
    ),
    Row(
        "ids-of-volumes-and-a-page-size",
        _VOLUMES,
        Call("DescribeVolumes", {"VolumeIds": ["{volume}"], "MaxResults": 5}),
        "InvalidParameterCombination",
        "volumeIdsSet",
    ),
    Row(
        "a-page-of-four", _BOUNDS, Call("DescribeVolumes", {"MaxResults": 4}), "InvalidParameterValue", "greater than 5"
    ),
    Row("a-page-of-1001", _BOUNDS, Call("DescribeVolumes", {"MaxResults": 1001})),
    Row(
        "auto-enable-io",
        _VOLUMES,
        Call("DescribeVolumeAttribute", {"VolumeId": "{volume}", "Attribute": "autoEnableIO"}),
        shows={"AutoEnableIO.Value": False, "ProductCodes": ABSENT},
    ),
    Row(
        "product-codes-of-a-volume",
        _VOLUMES,
        Call("DescribeVolumeAttribute", {"VolumeId": "{volume}", "Attribute": "productCodes"}),
        shows={"ProductCodes": [], "AutoEnableIO": ABSENT},
    ),
    Row(
        "no-attribute-to-modify",
        _VOLUMES,
        Call("ModifyVolumeAttribute", {"VolumeId": "{volume}"}),
        "InvalidParameterCombination",
        "No attributes specified.",
    ),
)

_STATUS = f"{STACKD}/ec2/instance_status_controls.json"


def status(**params: Any) -> Call:
    return Call("DescribeInstanceStatus", {"IncludeAllInstances": True, **params})


INSTANCES = (
    Row("a-hundred-and-one-ids", _STATUS, status(InstanceIds=["{instance}"] * 101), "InvalidRequest", "101 exceeds"),
    Row(
        "a-hundred-and-one-unknown-ids",
        _STATUS,
        status(InstanceIds=[f"i-{number:08x}" for number in range(1, 102)]),
        "InvalidRequest",
        "(100)",
    ),
    Row(
        "a-hundred-ids",
        _STATUS,
        status(InstanceIds=["{instance}"] * 100),
        shows={"InstanceStatuses.0.InstanceId": "{instance}"},
    ),
    *(
        Row(
            f"status-by-{name}",
            _STATUS,
            status(InstanceIds=["{instance}"], Filters=[{"Name": name, "Values": ["x"]}]),
            "InvalidParameterValue",
            f"The filter '{name}' is invalid",
        )
        for name in ("tag-key", "tag-value", "tag:suite")
    ),
    Row(
        "a-small-page-of-statuses",
        f"{STACKD}/ec2/instance_status_inputs.json",
        status(MaxResults=4),
        "InvalidParameterValue",
        "Value ( 4 ) for parameter maxResults is invalid. Expecting a value greater than 5.",
    ),
    Row(
        "an-unknown-instance",
        f"{STACKD}/ec2/instance_status_inputs.json",
        status(InstanceIds=["i-00000001"]),
        "InvalidInstanceID.NotFound",
        "The instance ID 'i-00000001' does not exist",
    ),
    Row(
        "an-id-of-nine-digits",
        f"{STACKD}/ec2/instance_status_inputs.json",
        status(InstanceIds=["i-123456789"]),
        "InvalidInstanceID.Malformed",
    ),
)


def launching(**more: Any) -> Call:
    params = {"ImageId": "{image}", "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    return Call("RunInstances", params, **more)


def protecting(attribute: str) -> Call:
    return Call("ModifyInstanceAttribute", {"InstanceId": "{instance}", attribute: {"Value": True}})


def attaching(volume: str, device: str = "/dev/sdf") -> Call:
    return Call("AttachVolume", {"InstanceId": "{instance}", "VolumeId": volume, "Device": device})


PROTECTED = (
    Row(
        "stop-under-stop-protection",
        "cloud-custodian/cloud-custodian#8007",
        Call("StopInstances", {"InstanceIds": ["{instance}"]}),
        "OperationNotPermitted",
        "The instance '{instance}' may not be stopped. Modify its 'disableApiStop' instance attribute and try again.",
        before=(protecting("DisableApiStop"),),
    ),
    Row(
        "terminate-under-termination-protection",
        "rebuy-de/aws-nuke#279",
        Call("TerminateInstances", {"InstanceIds": ["{instance}"]}),
        "OperationNotPermitted",
        "The instance '{instance}' may not be terminated. Modify its 'disableApiTermination' instance attribute",
        before=(protecting("DisableApiTermination"),),
    ),
    Row(
        "terminate-under-stop-protection",
        "cloud-custodian/cloud-custodian#7597",
        Call("TerminateInstances", {"InstanceIds": ["{instance}"]}),
        "OperationNotPermitted",
        "The instance '{instance}' may not be terminated. Modify its 'disableApiStop' instance attribute and try "
        "again.",
        before=(protecting("DisableApiStop"),),
    ),
    Row(
        "attach-what-is-attached",
        "hashicorp/terraform#11060",
        attaching("{volume}", "/dev/sdg"),
        "VolumeInUse",
        "{volume} is already attached to an instance",
        before=(attaching("{volume}"),),
    ),
    Row(
        "attach-at-a-device-in-use",
        "mantl/mantl#819",
        attaching("{gp2}"),
        "InvalidParameterValue",
        "is already in use",
        before=(attaching("{volume}"),),
    ),
    Row(
        "attach-in-another-zone",
        API,
        attaching("{far}"),
        "InvalidVolume.ZoneMismatch",
        before=(Call("CreateVolume", {"AvailabilityZone": "us-east-1b", "Size": 1}, gives={"far": "VolumeId"}),),
    ),
)

_LIFECYCLE = f"{STACKD}/ec2/instances_lifecycle.json"

LAUNCHED = (
    Row(
        "a-launch-answers-before-its-devices-are-there",
        _LIFECYCLE,
        launching(),
        shows={"Instances.0.BlockDeviceMappings": [], "Instances.0.MetadataOptions.State": "pending"},
    ),
    Row(
        "a-launch-from-an-image-that-is-not-shared",
        "DataBiosphere/toil#3512",
        launching(caller=OTHER),
        "AuthFailure",
        "Not authorized for images: [{image}]",
    ),
    Row(
        "an-instance-shows-no-sriov-support",
        _LIFECYCLE,
        Call("DescribeInstances", {"InstanceIds": ["{instance}"]}),
        shows={
            "Reservations.0.Instances.0.InstanceId": "{instance}",
            "Reservations.0.Instances.0.SriovNetSupport": ABSENT,
        },
    ),
)

ATTRIBUTE = Row(
    "one-attribute-of-an-instance",
    f"{AMAZON_AWS}/ec2_instance_termination_protection",
    Call("DescribeInstanceAttribute", {"InstanceId": "{instance}", "Attribute": "disableApiStop"}),
    shows={"DisableApiStop.Value": False, "BlockDeviceMappings": ABSENT, "ProductCodes": ABSENT, "Groups": ABSENT},
)

_IMAGES = f"{STACKD}/ec2/images_controls.json"


_IMAGES_SHARED = f"{STACKD}/ec2/images_sharing.json"


def launchable(**permission: Any) -> Call:
    return Call("ModifyImageAttribute", {"ImageId": "{image}", "LaunchPermission": permission})


def image_attribute(name: str, **more: Any) -> Call:
    return Call("DescribeImageAttribute", {"ImageId": "{image}", "Attribute": name}, **more)


def registering(name: str, device: str = "/dev/sda1", **ebs: Any) -> Call:
    return Call(
        "RegisterImage",
        {
            "Name": name,
            "Architecture": "x86_64",
            "VirtualizationType": "hvm",
            "RootDeviceName": "/dev/sda1",
            "BlockDeviceMappings": [{"DeviceName": device, "Ebs": {"SnapshotId": "{plain}", **ebs}}],
        },
    )


IMAGES = (
    Row(
        "a-name-that-is-in-use",
        _IMAGES,
        registering("same {plain}"),
        "InvalidAMIName.Duplicate",
        "is already in use by AMI {one}",
        before=(Call(**{**vars(registering("same {plain}")), "gives": {"one": "ImageId"}}),),
    ),
    Row(
        "no-root-snapshot",
        _IMAGES,
        registering("no root {plain}", "/dev/sdb"),
        "InvalidBlockDeviceMapping",
        "No root snapshot specified in device mapping.",
    ),
    Row("a-short-name", _IMAGES, registering("x"), "InvalidAMIName.Malformed"),
    Row(
        "a-snapshot-that-does-not-exist",
        _IMAGES,
        registering("lost {plain}", SnapshotId="snap-00000000000000000"),
        "InvalidSnapshotID.NotFound",
        "does not exist",
    ),
    Row(
        "encryption-and-a-snapshot",
        _IMAGES,
        registering("sealed {plain}", Encrypted=False),
        "InvalidParameter",
        "encrypted",
    ),
    Row(
        "two-attributes-of-an-image",
        _IMAGES,
        Call(
            "ModifyImageAttribute",
            {"ImageId": "{image}", "Description": {"Value": "x"}, "ImdsSupport": {"Value": "v2.0"}},
        ),
        "InvalidParameterCombination",
        "Fields for multiple attribute types specified: description, imdsSupport",
    ),
    Row(
        "no-attribute-of-an-image",
        _IMAGES,
        Call("ModifyImageAttribute", {"ImageId": "{image}"}),
        "InvalidParameterCombination",
        "No attributes specified.",
    ),
    Row(
        "a-page-of-one-image",
        _IMAGES,
        Call("DescribeImages", {"Owners": ["self"], "MaxResults": 1}),
        "InvalidParameterValue",
        "Expecting a value greater than 5.",
    ),
    Row(
        "one-attribute-of-an-image",
        _IMAGES,
        Call("DescribeImageAttribute", {"ImageId": "{image}", "Attribute": "description"}),
        shows={"LaunchPermissions": ABSENT, "ProductCodes": ABSENT, "BlockDeviceMappings": ABSENT},
    ),
    Row(
        "launch-permission-for-no-account",
        _IMAGES,
        launchable(Add=[{"UserId": "123"}]),
        "InvalidAMIAttributeItemValue",
        'Invalid attribute item value "123 " for userId item type.',
    ),
    Row(
        "description-of-an-image-is-not-emptied",
        _IMAGES,
        Call("ModifyImageAttribute", {"ImageId": "{image}", "Attribute": "description", "Value": ""}),
        "MissingParameter",
        "The request must contain the parameter description",
    ),
    Row(
        "metadata-support-of-an-image-is-not-taken-back",
        _IMAGES,
        Call("ModifyImageAttribute", {"ImageId": "{image}", "ImdsSupport": {"Value": ""}}),
        "MissingParameter",
        "The request must contain the parameter imdsSupport with value v2.0",
    ),
    Row(
        "reset-of-a-description",
        _IMAGES,
        Call("ResetImageAttribute", {"ImageId": "{image}", "Attribute": "description"}),
        "InvalidRequest",
        "The request received was invalid.",
    ),
    Row(
        "devices-of-an-image-as-attribute",
        _IMAGES,
        image_attribute("blockDeviceMapping"),
        "AuthFailure",
        "Unauthorized attempt to access restricted resource",
    ),
    Row(
        "an-image-that-is-not-shared-yet",
        _IMAGES_SHARED,
        Call("DescribeImages", {"ImageIds": ["{image}"]}, caller=OTHER),
        shows={"Images": []},
    ),
    Row(
        "an-image-shared-with-oneself",
        _IMAGES_SHARED,
        image_attribute("launchPermission"),
        shows={"LaunchPermissions": [{"UserId": HOME}]},
        before=(launchable(Add=[{"UserId": HOME}]),),
    ),
    *(
        Row(
            f"{name}-of-a-shared-image",
            _IMAGES_SHARED,
            image_attribute(name, caller=OTHER),
            "AuthFailure",
            "Not authorized for image:{image}",
            before=(launchable(Add=[{"UserId": OTHER}]),),
        )
        for name in ("description", "launchPermission", "bootMode", "imdsSupport", "productCodes")
    ),
    Row(
        "tags-of-a-shared-image",
        _IMAGES_SHARED,
        Call("DescribeImages", {"ImageIds": ["{image}"]}, caller=OTHER),
        shows={"Images.0.ImageId": "{image}", "Images.0.Tags": ABSENT},
        before=(
            Call("CreateTags", {"Resources": ["{image}"], "Tags": _SUITE}),
            launchable(Add=[{"UserId": OTHER}]),
        ),
    ),
    Row(
        "protection-of-a-shared-image",
        f"{STACKD}/ec2/images_sharing.json",
        Call("DescribeImages", {"ImageIds": ["{image}"]}, caller=OTHER),
        shows={"Images.0.ImageId": "{image}", "Images.0.DeregistrationProtection": ABSENT},
        before=(
            Call("ModifyImageAttribute", {"ImageId": "{image}", "LaunchPermission": {"Add": [{"UserId": OTHER}]}}),
        ),
    ),
    Row(
        "an-unknown-image",
        f"{STACKD}/ec2/images_sharing.json",
        Call("DescribeImages", {"ImageIds": ["ami-0ffffffffffffffff"]}),
        "InvalidAMIID.NotFound",
        "The image id '[ami-0ffffffffffffffff]' does not exist",
    ),
    Row(
        "a-deregistered-image",
        f"{STACKD}/ec2/images_sharing.json",
        Call("DescribeImages", {"ImageIds": ["{image}"]}),
        shows={"Images": []},
        before=(Call("DeregisterImage", {"ImageId": "{image}"}),),
    ),
    Row(
        "deregister-twice",
        f"{STACKD}/ec2/images_controls.json",
        Call("DeregisterImage", {"ImageId": "{image}"}),
        "InvalidAMIID.Unavailable",
        before=(Call("DeregisterImage", {"ImageId": "{image}"}),),
    ),
)

ROWS: tuple[Row, ...] = (*COPIES, *SHARED, *SNAPSHOTS, *VOLUMES, *INSTANCES, ATTRIBUTE, *LAUNCHED, *PROTECTED, *IMAGES)
