# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facts: answers of AWS that are no resources. Each kind is declared once, with its type and its queries.

This file has the kinds of facts about instances, load balancers and places, and the facts of the engine.
`storage_facts` has those about volumes, snapshots and images. `_aws/fact_readers` makes facts from AWS's answers.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Generic, TypeVar

from .ids import is_planned
from .places import HERE, Place
from .resources import Fact, Resource
from .state import Query, State, by_id

T = TypeVar("T")


@dataclass(frozen=True)
class FactKind(Generic[T]):
    """A kind of fact about a subject, which is a resource or another thing with a name, such as a zone.

    ``name`` ends the fact's id.
    """

    name: str

    def id_of(self, subject: str | None) -> str:
        """Return the id of the fact about *subject*, as a state has it."""
        return f"{subject}/{self.name}"

    def fact(self, subject: str, value: T) -> Fact:
        """Return the fact about *subject*."""
        return Fact(self.name, subject, value)

    def view(self, value: T) -> dict[str, Any]:
        """Return a text, or a tuple of texts, as a part of the subject's view. `resources.facts_in` reads it back."""
        return {"facts": {self.name: list(value) if isinstance(value, tuple) else value}}

    def of(self, state: State, subject: str | None, place: Place = HERE) -> T | None:
        """Return the value for *subject*, or None if AWS shows none or was not asked."""
        found = state.fact(self.id_of(subject), place)
        value: T | None = None if found is None else found.value
        return value

    def read(self, resource: Resource | None, subject: str) -> T | None:
        """Return the value if *resource* is the fact about *subject*, else None."""
        is_it = isinstance(resource, Fact) and (resource.name, resource.subject) == (self.name, subject)
        value: T | None = resource.value if is_it and isinstance(resource, Fact) else None
        return value

    def all(self, state: State) -> dict[str, T]:
        """Return every known value of the kind by subject, in all places."""
        return {item.subject: item.value for item in state.all(Fact) if item.name == self.name}


@dataclass(frozen=True)
class PlaceFactKind(Generic[T]):
    """A kind of fact about a place as a whole. ``name`` is the fact's id."""

    name: str

    def fact(self, value: T) -> Fact:
        """Return the fact. Its query names the place."""
        return Fact(self.name, value=value)

    def of(self, state: State, place: Place = HERE) -> T | None:
        """Return the value for *place*, or None if AWS was not asked or did not answer."""
        found = state.fact(self.name, place)
        value: T | None = None if found is None else found.value
        return value


# --- attributes of an instance: the name of the kind is the attribute's name -----------------------------------------

USER_DATA = FactKind[str]("userData")
"""The user data in base64. An instance without user data has no such fact."""
SHUTDOWN_BEHAVIOR = FactKind[str]("instanceInitiatedShutdownBehavior")
"""``stop`` or ``terminate``."""
PROTECTIONS: Mapping[str, FactKind[bool]] = {
    "DisableApiTermination": FactKind("disableApiTermination"),
    "DisableApiStop": FactKind("disableApiStop"),
}
"""Whether an instance is protected, for each parameter of RunInstances and ModifyInstanceAttribute that protects it."""
TERMINATION_PROTECTION = PROTECTIONS["DisableApiTermination"]
STOP_PROTECTION = PROTECTIONS["DisableApiStop"]
ATTRIBUTES: Mapping[str, FactKind[Any]] = {
    kind.name: kind for kind in (USER_DATA, SHUTDOWN_BEHAVIOR, TERMINATION_PROTECTION, STOP_PROTECTION)
}


def attribute_query(kind: FactKind[Any], instance_id: str) -> tuple[Query, ...]:
    """Return the query for one attribute of one instance. EC2 has no bulk read. A planned instance needs no query."""
    if is_planned(instance_id):
        return ()
    return (Query("DescribeInstanceAttribute", arguments=(("Attribute", kind.name), ("InstanceId", instance_id))),)


def protection_queries(instance_id: str) -> tuple[Query, ...]:
    """Return the queries for the termination protection and the stop protection of an instance."""
    return tuple(query for kind in PROTECTIONS.values() for query in attribute_query(kind, instance_id))


# --- other facts about an instance -----------------------------------------------------------------------------------

UEFI_DATA = FactKind[str]("uefiData")
"""The UEFI variables in base64. An instance without any has no such fact."""
CPU_CREDITS = FactKind[str]("cpuCredits")
"""``standard`` or ``unlimited``, for a burstable instance."""


@dataclass(frozen=True)
class StatusChecks:
    """EC2's words for the two status checks of an instance, such as ``ok``."""

    system: str
    instance: str

    @property
    def are_passed(self) -> bool:
        """Whether EC2 reports both checks as ``ok``."""
        return (self.system, self.instance) == ("ok", "ok")


STATUS_CHECKS = FactKind[StatusChecks]("status")
_STATUS_IDS = 100
"""The number of explicit ids that DescribeInstanceStatus takes."""


@dataclass(frozen=True)
class Membership:
    """The Auto Scaling group that an instance belongs to, and the state of its lifecycle there, such as ``Standby``."""

    group: str
    lifecycle: str

    @property
    def is_standby(self) -> bool:
        """Whether the group leaves the instance alone when it stops."""
        return self.lifecycle == "Standby"


MEMBERSHIP = FactKind[Membership]("autoscaling")
_MEMBERSHIP_IDS = 50
"""The number of ids that DescribeAutoScalingInstances takes."""
IS_PERSISTENT = FactKind[bool]("persistentSpot")
"""Whether a Spot request is persistent. EC2 stops only instances of persistent requests. The subject is the request."""


def uefi_query(instance_id: str) -> Query:
    """Return the query for the UEFI variables of an instance."""
    return Query("GetInstanceUefiData", arguments=(("InstanceId", instance_id),))


def credit_queries(instance_id: str) -> tuple[Query, ...]:
    """Return the query for the CPU credits of an instance."""
    return by_id("DescribeInstanceCreditSpecifications", "instance-id", [instance_id])


def status_queries(ids: Iterable[str]) -> tuple[Query, ...]:
    """Return the queries for the status checks of instances. The operation has no filter on ids, and refuses an unknown
    id.
    """
    return tuple(
        Query("DescribeInstanceStatus", arguments=(("IncludeAllInstances", True), ("InstanceIds", some)))
        for some in _parts(ids, _STATUS_IDS)
    )


def membership_queries(ids: Iterable[str]) -> tuple[Query, ...]:
    """Return the queries for the Auto Scaling groups of instances."""
    return tuple(
        Query("DescribeAutoScalingInstances", arguments=(("InstanceIds", some),), service="autoscaling")
        for some in _parts(ids, _MEMBERSHIP_IDS)
    )


def spot_queries(requests: Iterable[str]) -> tuple[Query, ...]:
    """Return the queries for the types of Spot requests."""
    return by_id("DescribeSpotInstanceRequests", "spot-instance-request-id", requests)


def _parts(ids: Iterable[str], most: int) -> list[tuple[str, ...]]:
    wanted = sorted(set(ids))
    return [tuple(wanted[start : start + most]) for start in range(0, len(wanted), most)]


# --- instance types --------------------------------------------------------------------------------------------------

INSTANCE_TYPE = FactKind[Mapping[str, Any]]("type")
"""EC2's whole answer, boto3's InstanceTypeInfo. A type of this collection would only repeat it."""


def type_queries(*instance_types: str) -> tuple[Query, ...]:
    """Return the queries for facts about these instance types: instance store, processors and network cards."""
    return by_id("DescribeInstanceTypes", "instance-type", instance_types)


def type_facts(state: State, instance_type: str) -> Mapping[str, Any]:
    """Return boto3's InstanceTypeInfo, or an empty mapping if EC2 does not offer the type here."""
    return INSTANCE_TYPE.of(state, instance_type) or {}


# --- load balancers --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TargetGroup:
    """A target group. ``vpc`` is empty for a group outside of any VPC."""

    arn: str
    name: str
    target_type: str
    vpc: str = ""


@dataclass(frozen=True)
class Target:
    """A target: the id of an instance, or an address. ``zone`` is ``all`` for an address outside of the group's VPC."""

    target_id: str
    zone: str = ""
    port: int | None = None
    state: str = ""
    """The word for its health, such as ``draining``."""


@dataclass(frozen=True)
class ClassicLoadBalancer:
    """A Classic Load Balancer with its instances."""

    name: str
    instance_ids: tuple[str, ...]


TARGET_GROUPS = PlaceFactKind[tuple[TargetGroup, ...]]("targetGroups")
TARGET_GROUPS_QUERY = Query("DescribeTargetGroups", service="elbv2")
TARGETS = FactKind[tuple[Target, ...]]("targets")
"""The targets of a target group. The subject is its ARN."""
CLASSIC_LOAD_BALANCERS = PlaceFactKind[tuple[ClassicLoadBalancer, ...]]("classicLoadBalancers")
CLASSIC_LOAD_BALANCERS_QUERY = Query("DescribeLoadBalancers", service="elb")


def targets_query(group: TargetGroup) -> Query:
    """Return the query for the targets of a target group."""
    return Query("DescribeTargetHealth", arguments=(("TargetGroupArn", group.arn),), service="elbv2")


# --- the account, the zones and the keys of a place ------------------------------------------------------------------


@dataclass(frozen=True)
class CallerIdentity:
    """The ``account`` of a place's credentials, or else ``refusal``, the code of STS's refusal."""

    account: str | None
    refusal: str | None = None


CALLER_IDENTITY = PlaceFactKind[CallerIdentity]("account")
ENCRYPTION_BY_DEFAULT = PlaceFactKind[bool]("ebsEncryptionByDefault")
"""Whether the account encrypts every new volume in the region."""
ENCRYPTION_QUERY = Query("GetEbsEncryptionByDefault")
ENCRYPTION_KEY = PlaceFactKind[str]("ebsDefaultKey")
"""The name of the KMS key that encrypts new volumes and copies for which the request names none."""
IS_USABLE_ZONE = FactKind[bool]("zone")
"""Whether EC2 makes volumes in a zone now. If a zone does not exist, there is no such fact."""
ZONES_QUERY = Query("DescribeAvailabilityZones", (("state", ("available",)), ("zone-type", ("availability-zone",))))


class KeyState(Enum):
    """KMS's answer about the name of a key."""

    USABLE = "usable"
    UNUSABLE = "unusable"
    """No enabled key has the name."""
    UNKNOWN = "unknown"
    """KMS refuses to answer, or was not asked."""


@dataclass(frozen=True)
class Key:
    """The key that a name stands for. Only a usable one has an ``arn``."""

    state: KeyState
    arn: str | None = None

    @property
    def is_unusable(self) -> bool:
        """KMS says that no enabled key has the name."""
        return self.state is KeyState.UNUSABLE


UNUSABLE_KEY = Key(KeyState.UNUSABLE)
UNKNOWN_KEY = Key(KeyState.UNKNOWN)
KMS_KEY = FactKind[Key]("key")
"""The subject is a name of the key: its id, its ARN or an alias."""


def account_query(place: Place = HERE) -> Query:
    """Return the query for the account of the place's credentials."""
    return Query("GetCallerIdentity", service="sts", place=place)


def default_encryption_queries(place: Place) -> tuple[Query, ...]:
    """Return the queries that show whether, and with which key, EC2 encrypts new volumes and copies in a place."""
    return (dataclasses.replace(ENCRYPTION_QUERY, place=place), Query("GetEbsDefaultKmsKeyId", place=place))


def zone_queries(zone: str) -> tuple[Query, ...]:
    """Return the query that shows whether EC2 makes volumes in the zone."""
    return by_id("DescribeAvailabilityZones", "zone-name", [zone])


def usable_key(arn: str) -> Key:
    """Return the answer about the name of an enabled key."""
    return Key(KeyState.USABLE, arn)


def key_query(name: str, place: Place = HERE) -> Query:
    """Return the query for the key of a name."""
    return Query("DescribeKey", arguments=(("KeyId", name),), service="kms", place=place)


def key_of(state: State, name: str, place: Place = HERE) -> Key:
    """Return KMS's answer about the name of a key, or `UNKNOWN_KEY` if there is no answer."""
    return KMS_KEY.of(state, name, place) or UNKNOWN_KEY


# --- the engine's own ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deferral:
    """EC2's refusal of a change that a later run has to make. ``not_before``: the time that EC2 names, if any."""

    code: str
    message: str
    not_before: datetime | None = None


DEFERRAL = FactKind[Deferral]("deferred")
"""A fact of the engine, about the resource of the change. No query asks for it."""
