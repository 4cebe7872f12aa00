# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guards: the users of an image that no rule keeps, and other reasons to keep it.

EC2 looks for the users of ten images in one call. If AWS refuses such a call, each guard asks for itself, so only the
guard without the permission keeps its images.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property

from ..._domain.image_usage import is_superseded
from ..._kernel import tags as tag_names
from ..._kernel.errors import StorageError, listed
from ..._kernel.places import HERE
from ..._kernel.resources import Image
from ..._kernel.state import Query, State, by_id, own_images
from ..._kernel.storage_facts import (
    ALL_REPORTS_QUERY,
    ALL_USAGE_QUERY,
    CURRENT_VERSIONS,
    CURRENT_VERSIONS_QUERY,
    GROUP_TEMPLATES,
    GROUP_TEMPLATES_QUERY,
    IS_REPORT_PENDING,
    LAUNCH_CONFIGURATIONS,
    LAUNCH_CONFIGURATIONS_QUERY,
    LAUNCH_PERMISSIONS,
    LOCK,
    LOCKS_QUERY,
    TEMPLATE_VERSIONS,
    USAGE,
    USAGE_REPORTS,
    launch_permissions_query,
    references_queries,
    template_query,
    users_of_type,
)
from ..._kernel.times import format_moment
from .spec import REFERENCE_TYPES, Action
from .versions import GONE, Line, managed, moment_of, protected

REPORTED_TYPES = ("ec2:Instance", "ec2:LaunchTemplate")
"""The types of resources in other accounts that a usage report of this collection counts."""
_FRESH = timedelta(days=7)
"""The age up to which a usage report answers ``check_accounts``. EC2 keeps a report for 30 days."""
_LATE = timedelta(hours=24)
"""The longest time after which LastLaunchedTime shows a launch (EC2 user guide, "Check when an AMI was last used")."""


@dataclass(frozen=True)
class Held:
    """The guard that keeps an image, and its sentence."""

    guard: str
    reason: str


class Guards:
    """The guards of one place. *pending*: by source image, the place of a copy that is not finished.

    *silent*: the places of copies that did not answer, so that an original may be the source of a copy there.
    *retiring*: the instances that this run terminates before it acts on their images.
    """

    def __init__(
        self, line: Line, pending: Mapping[str, str], silent: Sequence[str] = (), retiring: Collection[str] = ()
    ) -> None:
        self.line, self.spec, self.state = line, line.spec, line.state
        self._retiring, self._pending, self._silent = tuple(retiring), pending, silent
        self._asks: Mapping[str, Callable[[Image], str]] = {
            **{name: self._references(name) for name in REFERENCE_TYPES},
            "launch_configuration": self._launch_configuration,
            "account": self._account,
            "managed": managed,
            "protected": lambda image: protected(self.spec, image),
            "copy_source": self._copy_source,
            "protection": self._protection,
            "locked": self._locked,
        }
        if not self.spec.every_version:
            self._asks = {**self._asks, "launch_template": self._launch_template}

    def seen_in(self, state: State) -> Guards:
        """Return the same guards with newer answers."""
        return Guards(self.line.seen_in(state), self._pending, self._silent, self._retiring)

    # --- the queries ---

    @cached_property
    def _looked_for(self) -> list[str]:
        """Return the guards that DescribeImageReferences answers."""
        found = [name for name in REFERENCE_TYPES if self.spec.guard(name) != "off"]
        return [name for name in found if name != "launch_template" or self.spec.every_version]

    def _joint(self, images: Iterable[str]) -> tuple[Query, ...]:
        return references_queries(images, (kind for name in self._looked_for for kind in REFERENCE_TYPES[name]))

    def _separate(self, name: str, images: Iterable[str]) -> tuple[Query, ...]:
        return references_queries(images, REFERENCE_TYPES[name])

    @cached_property
    def _refused_images(self) -> frozenset[str]:
        """Return the images about which AWS refused the joint query."""
        ids = [image.image_id for image in self.line.leaving]
        refused = (query for query in self._joint(ids) if query in self.state.unanswered)
        return frozenset(image_id for query in refused for image_id in dict(query.arguments)["ImageIds"])

    def questions(self) -> Iterator[Query]:
        """Yield the queries about the images that no rule keeps, none if there are no such images."""
        leaving = self.line.leaving
        if leaving:
            yield from (replace(query, optional=True) for query in self._questions(leaving))

    def _questions(self, leaving: Sequence[Image]) -> Iterator[Query]:
        for name in self._looked_for if self._refused_images else ():
            yield from self._separate(name, self._refused_images)
        yield from self.questions_about(leaving)
        if self.spec.action is Action.DEREGISTER:
            yield from self._snapshot_questions(leaving)

    def questions_about(self, leaving: Sequence[Image]) -> Iterator[Query]:
        """Yield the queries whose answers somebody else may change: who uses these images, and which snapshots are
        locked.
        """
        yield from self._joint(image.image_id for image in leaving)
        if self.spec.guard("launch_configuration") != "off":
            yield LAUNCH_CONFIGURATIONS_QUERY
        if self.spec.guard("launch_template") != "off" and not self.spec.every_version:
            yield CURRENT_VERSIONS_QUERY
            yield GROUP_TEMPLATES_QUERY
            yield from (template_query(name) for name in sorted(self.pinned))
        if self.spec.guard("account") != "off":
            yield from self._account_questions(leaving)
        if self.spec.action is Action.DEREGISTER:
            yield LOCKS_QUERY

    def _snapshot_questions(self, leaving: Iterable[Image]) -> Iterator[Query]:
        """Yield the queries for other images with the same snapshots, and for the snapshots without the tag of the
        name. A listing has already found the snapshots with that tag.
        """
        parts = sorted({name for image in leaving for name in image.snapshot_ids})
        for start in range(0, len(parts), 200):
            yield own_images(("block-device-mapping.snapshot-id", tuple(parts[start : start + 200])))
        unlisted = [name for name in parts if not self._is_listed(name)]
        yield from by_id("DescribeSnapshots", "snapshot-id", unlisted, OwnerIds=("self",))

    def _is_listed(self, snapshot_id: str) -> bool:
        part = self.state.snapshot(snapshot_id)
        return part is not None and part.tags.get(tag_names.IMAGE) == self.spec.name

    def unread(self, image: Image) -> str:
        """Return why EC2 has not shown the snapshots of the image and their users, or an empty text."""
        for query in self._snapshot_questions(self.line.leaving) if self.state.unanswered else ():
            names = {name for _filter, values in query.filters for name in values}
            if query in self.state.unanswered and not names.isdisjoint(image.snapshot_ids):
                return f"AWS did not answer {query.operation}"
        return ""

    def _account_questions(self, leaving: Sequence[Image]) -> Iterator[Query]:
        yield ALL_USAGE_QUERY
        yield ALL_REPORTS_QUERY
        if self.spec.check_accounts:
            yield from (launch_permissions_query(image.image_id) for image in leaving)

    @property
    def refusals(self) -> list[StorageError]:
        """Return AWS's refusals of the guards' queries.

        A refused joint query is left out once each guard has asked for itself.
        """
        joint = set(self._joint(image.image_id for image in self.line.leaving))
        if len(self._looked_for) == 1:
            joint = set()
        asked = set(self.questions())
        return [error for query, error in self.state.unanswered.items() if query in asked and query not in joint]

    # --- the answers ---

    def failing_answer(self, name: str, image: Image) -> str:
        """Return why a guard has no answer about the image, or an empty text."""
        for query in self._queries_of(name, image):
            if query in self.state.unanswered:
                return f"AWS did not answer {query.operation}"
        return ""

    def _queries_of(self, name: str, image: Image) -> Iterator[Query]:
        if name in self._looked_for and image.image_id in self._refused_images:
            yield from self._separate(name, self._refused_images_with(image))
        elif name == "launch_template":
            yield from (CURRENT_VERSIONS_QUERY, GROUP_TEMPLATES_QUERY)
            yield from (template_query(one) for one in self.pinned)
        elif name == "launch_configuration":
            yield LAUNCH_CONFIGURATIONS_QUERY
        elif name == "account":
            yield from (ALL_USAGE_QUERY, ALL_REPORTS_QUERY, launch_permissions_query(image.image_id))
        elif name == "locked":
            yield LOCKS_QUERY

    def _refused_images_with(self, image: Image) -> list[str]:
        """Return the images of the separate query that has *image*."""
        for query in self._separate(self._looked_for[0], self._refused_images):
            ids: tuple[str, ...] = dict(query.arguments)["ImageIds"]
            if image.image_id in ids:
                return list(ids)
        return []

    def stops(self, image: Image, mode: str) -> Iterator[Held]:
        """Yield the guards of this mode that keep the image. A guard without an answer keeps it in any mode."""
        for name, ask in self._asks.items():
            if self.spec.guard(name) == "off" or self._is_idle(name):
                continue
            silent = self.failing_answer(name, image)
            if silent and mode == "keep":
                yield Held(name, silent)
            elif not silent and self.spec.guard(name) == mode and (reason := ask(image)):
                yield Held(name, reason)

    def _is_idle(self, name: str) -> bool:
        """Return whether the guard forbids only deregistration, and the action is another one."""
        return name in ("protection", "locked") and self.spec.action is not Action.DEREGISTER

    # --- each guard ---

    def _references(self, name: str) -> Callable[[Image], str]:
        def ask(image: Image) -> str:
            kinds = map(users_of_type, REFERENCE_TYPES[name])
            arns = [arn for kind in kinds for arn in kind.of(self.state, image.image_id) or ()]
            arns = [arn for arn in arns if arn.rpartition(":instance/")[2] not in self._retiring]
            return f"in use by {listed(sorted(arns), 3)}" if arns else ""

        return ask

    @cached_property
    def pinned(self) -> dict[str, dict[int, str]]:
        """Return, by launch template, the versions that Auto Scaling groups pin, each with a group."""
        found: dict[str, dict[int, str]] = {}
        for one in GROUP_TEMPLATES.of(self.state) or ():
            if one.pinned is not None:
                found.setdefault(one.template_id, {})[one.pinned] = one.group
        return found

    def _launch_template(self, image: Image) -> str:
        for version in CURRENT_VERSIONS.of(self.state) or ():
            if version.data.get("ImageId") == image.image_id:
                which = "default" if version.is_default else "latest"
                return f"in use by the {which} version {version.number} of {version.template_id}"
        for template, numbers in sorted(self.pinned.items()):
            for version in TEMPLATE_VERSIONS.of(self.state, template) or ():
                if version.number in numbers and version.data.get("ImageId") == image.image_id:
                    return (
                        f"the Auto Scaling group {numbers[version.number]} pins version {version.number} of {template}"
                    )
        return ""

    def _launch_configuration(self, image: Image) -> str:
        found = LAUNCH_CONFIGURATIONS.of(self.state) or ()
        names = sorted(one.name for one in found if one.image_id == image.image_id)
        return f"in use by the launch configuration {listed(names, 3)}" if names else ""

    def _account(self, image: Image) -> str:
        for entry in USAGE.of(self.state, image.image_id) or ():
            if entry.count and entry.account != image.owner_id and not is_superseded(self.state, image.image_id, entry):
                reported = format_moment(entry.reported) if entry.reported is not None else "unknown"
                return f"in use by the account {entry.account} ({entry.resource_type}: {entry.count}, as of {reported})"
        if not self.lacks_report(image):
            return ""
        if IS_REPORT_PENDING.of(self.state, image.image_id):
            return "EC2 is making the usage report. A later run decides"
        return "shared, without a usage report of the last 7 days. This run requests one, and a later run decides"

    def lacks_report(self, image: Image) -> bool:
        """Return whether ``check_accounts`` needs a newer usage report of the image than there is.

        Only other accounts with access can have started something from the image.
        """
        if not self.spec.check_accounts or not LAUNCH_PERMISSIONS.of(self.state, image.image_id):
            return False
        return not any(
            report.reported + _FRESH > self.line.now
            and not report.accounts
            and all(kind in report.depths for kind in REPORTED_TYPES)
            for report in USAGE_REPORTS.of(self.state, image.image_id) or ()
        )

    def wants_report(self, image: Image) -> bool:
        """Return whether this run has to request a usage report of the image."""
        mode = self.spec.guard("account")
        if mode == "off" or self.failing_answer("account", image) or not self.lacks_report(image):
            return False
        return not IS_REPORT_PENDING.of(self.state, image.image_id)

    def _copy_source(self, image: Image) -> str:
        if self.line.is_home and self._silent:
            return f"no answer from {listed(self._silent)} shows whether a copy is under way"
        where = self._pending.get(image.image_id)
        return f"its copy in {where} is not finished" if where and self.line.is_home else ""

    def _protection(self, image: Image) -> str:
        """Return EC2's deregistration protection, or an empty text.

        Once protection with a cooldown is switched off, EC2 shows ``disabled after`` and the time of its end.
        """
        text = str(image.facts.get("DeregistrationProtection") or "")
        end = moment_of(text.removeprefix("disabled after ")) if text.startswith("disabled after ") else None
        if text.startswith("enabled") or (end is not None and end > self.line.now):
            return f"deregistration protection: {text}"
        return ""

    def _locked(self, image: Image) -> str:
        for name in image.snapshot_ids:
            lock = LOCK.of(self.state, name, HERE)
            if lock is not None and lock.is_in_force:
                return f"{name} is locked ({lock.text})"
        return ""

    def launched(self, image: Image) -> str:
        """Return why ``unused_for`` keeps the image, or an empty text."""
        span = self.spec.unused_for
        if span is None:
            return ""
        last = moment_of(image.facts.get("LastLaunchedTime"))
        if last is None:
            return "EC2 shows no time of the last launch"
        if last > span.before(self.line.now - _LATE, self.line.keep.zone):
            return f"last launched {format_moment(last)}, less than {span.text} and 24h ago"
        return ""

    def users_of_parts(self, image: Image, going: Iterable[str]) -> dict[str, str]:
        """Return, by snapshot of the image, another image that uses the snapshot and is not among *going*."""
        leaving = {image.image_id, *going}
        return {
            name: other.image_id
            for name in dict.fromkeys(image.snapshot_ids)
            for other in self._images_with.get(name, ())
            if other.image_id not in leaving
        }

    @cached_property
    def _images_with(self) -> dict[str, list[Image]]:
        """Return, by snapshot, the images that use it."""
        found: dict[str, list[Image]] = {}
        for image in self.state.all(Image):
            if image.state not in GONE:
                for name in image.snapshot_ids:
                    found.setdefault(name, []).append(image)
        return found
