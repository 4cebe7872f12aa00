# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The image of a version in all places: copied, shared, with its attributes, published.

The plan of the original comes first. All further steps are apart, so a failure in one place leaves the others alone:

    original available ─┬─ attributes, permissions ── parameter, launch template
                        ├─ copy A ── attributes, permissions ── parameter
                        └─ copy B ── attributes, permissions ── parameter

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from ..._domain.accounts import Accounts
from ..._kernel.errors import SpecError
from ..._kernel.facts import key_of
from ..._kernel.places import HERE
from ..._kernel.plan import Change, Plan, Stage, Wait, apart
from ..._kernel.prediction import overlay
from ..._kernel.report import PlanReport
from ..._kernel.resources import Image, Instance
from ..._kernel.state import Query, State
from .attributes import attribute_changes, copy_tag_changes, fixed_differences
from .copying import copy_change
from .distribution_rows import Row, report_of
from .distribution_spec import Distribution
from .found import BROKEN, account_of, images
from .holdings import Copied, Holding, copy_queries, require_places, snapshots_of
from .permissions import Sharing, encryption_queries, require_shareable
from .publication import Published, publication_queries, publish
from .spec import ImageSpec
from .template import Templated, template_changes, template_queries


def distribution_queries(spec: ImageSpec, state: State) -> Iterator[Query]:
    """Yield the queries that do not depend on others."""
    if spec.state == "available":
        yield from copy_queries(spec, state)
        yield from template_queries(spec.distribution.template)


def distribute(spec: ImageSpec, state: State, made: Plan, now: datetime) -> Plan:
    """Return the plan *made* for the original, with the steps for all places. Raises SpecError.

    A task with ``state: captured`` has no available image, so it leaves all this to a later run.
    """
    if spec.state != "available":
        return made
    accounts = require_places(spec, state)
    after = overlay(state.here(), made.published())
    original = next((item for item in images(spec, after) if item.state not in BROKEN), None)
    if original is None:
        return made
    return _Distribution(spec, state, after, made, original, accounts, now).plan()


class _Distribution:
    """The steps of one plan. *after*: the state here after the plan of the original."""

    def __init__(
        self,
        spec: ImageSpec,
        state: State,
        after: State,
        made: Plan,
        original: Image,
        accounts: Accounts,
        now: datetime,
    ) -> None:
        self.spec, self.state, self.made, self.now = spec, state, made, now
        self._accounts = accounts
        own = accounts.of(None) or account_of(spec, state) or original.owner_id or _owner(state)
        self.original = Holding(original, snapshots_of(after, original), state.region, own or "")
        self.copied = [Copied(spec, state, copy, original) for copy in spec.distribution.copies]
        self.ends_with_copies = self._ends_with_copies()
        self.copies: list[Holding] = []
        self.begun: dict[str, Change] = {}
        for one in self.copied:
            self._add(one)
        copying = {holding.account for holding in self.copies if holding.is_new or holding.image.state == "pending"}
        theirs = {holding.account for holding in self.copies}
        declared = spec.distribution.permissions
        self.sharing = {
            holding.place: Sharing(
                state,
                holding,
                declared,
                copying if holding.copy is None else (),
                theirs if holding.copy is None else (),
            )
            for holding in self.holdings
        }

    @property
    def holdings(self) -> list[Holding]:
        """Return the original and the copies, in the order of the task."""
        return [self.original, *self.copies]

    def _ends_with_copies(self) -> bool:
        """Return whether nothing of the plan depends on a copy that is available."""
        wanted = self.spec.distribution
        others = (wanted.permissions, wanted.deprecate_after, wanted.protection, wanted.parameter)
        return all(one is None for one in others) and not any(copy.profile for copy in wanted.copies)

    def _add(self, copied: Copied) -> None:
        """Add the copy of one place: the existing one, or the one that the plan makes."""
        copy = copied.copy
        account = self._accounts.of(copy.profile) if copy.profile else self.original.account
        image, there = copied.existing(), self.state
        if image is None:
            if copy.kms_key_id is not None and key_of(self.state, copy.kms_key_id, copy.place).is_unusable:
                raise SpecError(
                    f"{copy.option}.kms_key_id: {copy.kms_key_id} is not an enabled KMS key in {copy.where}. Give the "
                    "ARN, the id or the alias (alias/…) of one."
                )
            change = copy_change(self.spec, copied, self.original, account)
            self.begun[copy.place] = change
            there = overlay(self.state, [change.published()], everywhere=True)
            image = there.image(change.resource, copy.place)
        if image is not None:
            self.copies.append(Holding(image, snapshots_of(there, image), copy.place, account, copy))

    # --- questions ---

    def _require(self) -> None:
        queries: list[Query] = []
        wanted = self.spec.distribution
        shares = wanted.permissions is not None and bool(wanted.permissions.wanted)
        for holding in self.holdings:
            queries += self.sharing[holding.place].queries()
            if shares or (holding.copy is None and any(one.account != holding.account for one in self.copies)):
                queries += encryption_queries(holding)
            if wanted.parameter is not None:
                queries += publication_queries(self.spec, self.state, holding)
        self.state.require(*queries)

    def _check(self) -> None:
        """Raise SpecError for a sharing that EC2 would refuse."""
        declared = self.spec.distribution.permissions
        for holding in self.holdings:
            names = [name for name in declared.wanted if name != holding.account] if declared is not None else []
            require_shareable(self.state, holding, names, "launch_permissions")
        for holding in self.copies:
            if holding.account != self.original.account and holding.copy is not None and holding.is_new:
                require_shareable(self.state, self.original, [holding.account], holding.copy.option)

    # --- the plan ---

    def plan(self) -> Plan:
        """Return the whole plan."""
        self._require()
        self._check()
        original = self.original.image
        found = (publish(self.spec, self.state, item, original) for item in self.holdings)
        published = [one for one in found if one is not None]
        template = template_changes(self.spec, self.state, self.original.image.image_id)
        stages = [*self._copying(), *self._converging(), *self._returning()]
        stages += [one.stage for one in published]
        stages += [Stage(changes) for changes in (template.created, template.made_default)] if template else []
        stages = [stage for stage in stages if stage.changes or stage.waits]
        own = tuple(_awaited(stage, self.original.image.image_id) for stage in self.made.stages) if stages else ()
        whole = (*(own or self.made.stages), *apart(stages))
        return dataclasses.replace(
            self.made,
            stages=whole,
            warnings=(*self.made.warnings, *self._warnings(published)),
            report=self._report(self._rows(whole, published), template),
        )

    def _copying(self) -> Iterator[Stage]:
        """Yield the stages that make the copies: the sharing with other accounts, and the removal of failed copies."""
        source = self.sharing[HERE]
        yield Stage(tuple(source.records()))
        yield Stage(tuple(source.before_copies()))
        removed, deleted = self._leftovers()
        yield Stage(tuple(removed))
        yield Stage(tuple(deleted))
        begun = tuple(self.begun.values())
        yield Stage(begun, tuple(self._wait(change.resource, change.region) for change in begun))
        pending = [item for item in self.copies if item.image.state == "pending" and not item.is_new]
        yield Stage(waits=tuple(self._wait(item.image.image_id, item.region) for item in pending))

    def _wait(self, image_id: str, region: str) -> Wait:
        place = next(item.place for item in self.copies if item.region == region)
        return Wait((image_id,), "available", final=self.ends_with_copies, place=place)

    def _leftovers(self) -> tuple[list[Change], list[Change]]:
        pairs = [one.removal_of_failed() for one in self.copied]
        return [change for some, _more in pairs for change in some], [
            change for _some, more in pairs for change in more
        ]

    def _converging(self) -> Iterator[Stage]:
        """Yield the stages for attributes, tags and permissions. Each changes one attribute of an image.

        They come after the copies, since no copy waits for an attribute.
        """
        pairs = [attribute_changes(self.spec, item, self.original.image, self.now) for item in self.holdings]
        tags = [change for item in self.copies for change in copy_tag_changes(self.spec, item)[0]]
        yield Stage((*(change for first, _second in pairs for change in first), *tags))
        yield Stage(tuple(change for _first, second in pairs for change in second))
        for which in (Sharing.added, Sharing.removed):
            yield Stage(tuple(change for one in self.sharing.values() for change in which(one)))

    def _returning(self) -> Iterator[Stage]:
        """Yield the stages that end the access of accounts which have copied the image."""
        source = self.sharing[HERE]
        copies = tuple(change.resource for change in self.begun.values())
        pending = tuple(item.image.image_id for item in self.copies if item.image.state == "pending")
        after = (*copies, *pending)
        ends = [
            dataclasses.replace(change, after_steps=(*change.after_steps, *after)) for change in source.after_copies()
        ]
        yield Stage(tuple(ends))
        named = (self.original.image.image_id, *self.original.image.snapshot_ids)
        yield Stage(tuple(dataclasses.replace(one, after_steps=(*named, *after)) for one in source.end_of_records()))

    # --- the report ---

    def _warnings(self, published: Iterable[Published]) -> Iterator[str]:
        for one in self.copied:
            yield from one.warnings()
        for item in self.copies:
            yield from copy_tag_changes(self.spec, item)[1]
            key = item.copy.kms_key_id if item.copy is not None else None
            yield from fixed_differences(self.spec, item, key_of(self.state, key, item.place).arn if key else None)
        yield from (one.warning for one in published if one.warning)

    def _report(self, rows: list[Row], template: Templated | None) -> PlanReport:
        is_plain = self.spec.distribution == Distribution()
        return self.made.report if is_plain else report_of(rows, template)

    def _rows(self, stages: Sequence[Stage], published: Sequence[Published]) -> list[Row]:
        changes = [change for stage in stages for change in stage.changes]
        by_place = {one.holding.place: one for one in published}
        return [
            Row(
                holding,
                self.sharing[holding.place].final,
                by_place.get(holding.place),
                tuple(change for change in changes if change.region == holding.region),
            )
            for holding in self.holdings
        ]


def _owner(state: State) -> str | None:
    return next((item.owner_id for item in state.all(Instance) if item.owner_id), None)


def _awaited(stage: Stage, image_id: str) -> Stage:
    """Return the stage with waits for the image that ``wait: false`` does not skip, since other steps need it."""
    waits = tuple(
        dataclasses.replace(wait, final=False) if image_id in wait.resources else wait for wait in stage.waits
    )
    return dataclasses.replace(stage, waits=waits)
