# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of `storage_info`, and the refusals that need no call to AWS.

Private to this collection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

from ..._domain.retention import Keep, parse_keep
from ..._domain.zones import is_region
from ..._kernel.errors import SpecError
from ..._kernel.prices import Prices, prices_for
from ..._kernel.tags import require_selector_text
from ..._kernel.times import Every, parse_every, parse_span
from .finding import IDS

SUBJECTS = ("volumes", "snapshots", "images")
_ACCOUNT = re.compile(r"\d{12}")
_SPANS = ("rpo_max", "grace", "old_after", "stopped_after", "unused_after")
_IGNORE_KEYS = frozenset({"reason", "resource", "finding", "tags"})
_POLICY_KEYS = frozenset({"policy", "every", "keep"})
_MONTH = timedelta(days=31)


@dataclass(frozen=True)
class Ignore:
    """A rule that takes findings out of the report. Each condition that is set must hold.

    ``resource`` and ``finding`` may have the wildcards of shell patterns.
    """

    reason: str
    resource: str = "*"
    finding: str = "*"
    tags: Mapping[str, str | None] = field(default_factory=dict)

    def fits(self, finding: str, resource: str, tags: Mapping[str, str]) -> bool:
        """Return whether the rule is about this finding of a resource with these tags."""
        return fnmatchcase(resource, self.resource) and fnmatchcase(finding, self.finding) and has_tags(tags, self.tags)


@dataclass(frozen=True)
class PolicyRules:
    """The rules that a policy has in its own region, and the length of its slots."""

    keep: Keep
    every: Every


@dataclass(frozen=True)
class InventorySpec:
    """The wanted report.

    ``every``: by policy, the length of its slots. ``rules``: the rules of the policies, where the user has given them.
    ``grace``: younger resources are in no finding. ``report``: the part
    of the result that reaches the controller. ``whole``: the module returns the whole report as a text.
    """

    prices: Prices
    subjects: tuple[str, ...] = SUBJECTS
    filters: Mapping[str, str | None] = field(default_factory=dict)
    rpo_max: timedelta | None = None
    every: Mapping[str, timedelta] = field(default_factory=dict)
    rules: Mapping[str, PolicyRules] = field(default_factory=dict)
    grace: timedelta = timedelta(days=1)
    old_after: timedelta = timedelta(days=90)
    stopped_after: timedelta = timedelta(days=30)
    unused_after: timedelta = timedelta(days=90)
    copy_regions: tuple[str, ...] = ()
    permissions: bool = False
    metrics: bool = False
    changed_blocks: bool = False
    price_api: bool = False
    trusted_accounts: frozenset[str] = frozenset()
    ignore: tuple[Ignore, ...] = ()
    report: str = "findings"

    def view(self) -> dict[str, Any]:
        """Return the options that the report depends on."""
        return {
            "rpo_max": None if self.rpo_max is None else seconds(self.rpo_max),
            "grace": seconds(self.grace),
            "old_after": seconds(self.old_after),
            "stopped_after": seconds(self.stopped_after),
            "unused_after": seconds(self.unused_after),
            "policies": [
                {"policy": name, "every": seconds(every), "rules": name in self.rules}
                for name, every in self.every.items()
            ],
            "copy_regions": list(self.copy_regions),
            "permissions": self.permissions,
            "metrics": self.metrics,
            "changed_blocks": self.changed_blocks,
            "price_api": self.price_api,
            "subjects": list(self.subjects),
            "filters": dict(self.filters),
        }

    def shows(self, subject: str, tags: Mapping[str, str]) -> bool:
        """Return whether the report has resources of this subject with these tags."""
        return subject in self.subjects and has_tags(tags, self.filters)


def seconds(span: timedelta) -> int:
    """Return the span in whole seconds."""
    return int(span.total_seconds())


def has_tags(tags: Mapping[str, str], wanted: Mapping[str, str | None]) -> bool:
    """Return whether *tags* have all *wanted* ones. A wanted value of None stands for any value."""
    return all(key in tags and value in (None, tags[key]) for key, value in wanted.items())


def parse(params: Mapping[str, Any], region: str) -> InventorySpec:
    """Return the module's options. Raises SpecError for malformed ones."""
    spans = {name: parse_span(params[name], name) for name in _SPANS if params.get(name)}
    return InventorySpec(
        prices=prices_for(region, params.get("prices"), params.get("prices_text") or ""),
        subjects=tuple(params.get("subjects") or SUBJECTS),
        filters=_selection(params.get("filters") or {}, "filters"),
        every=dict(_policies(params.get("policies") or ())),
        rules=dict(_rules(params.get("policies") or ())),
        copy_regions=tuple(_regions(params.get("copy_regions") or (), region)),
        permissions=bool(params.get("permissions")),
        metrics=bool(params.get("metrics")),
        changed_blocks=bool(params.get("changed_blocks")),
        price_api=bool(params.get("price_api")),
        trusted_accounts=frozenset(_accounts(params.get("trusted_accounts") or ())),
        ignore=tuple(_ignores(params.get("ignore") or ())),
        report=params.get("report") or "findings",
        **spans,
    )


def _selection(tags: Mapping[Any, Any], option: str) -> dict[str, str | None]:
    """Return tags for a selection. Null stands for any value."""
    valued = require_selector_text(
        {key: value for key, value in tags.items() if value is not None}, option, numbers=True
    )
    anything = require_selector_text({key: "" for key, value in tags.items() if value is None}, option, numbers=True)
    return {**valued, **dict.fromkeys(anything)}


def _policies(entries: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, timedelta]]:
    for number, entry in enumerate(entries):
        option = f"policies[{number}]"
        _require_keys(entry, _POLICY_KEYS, option)
        if not isinstance(entry.get("policy"), str) or not entry["policy"]:
            raise SpecError(f"{option}.policy: no policy is named. Set the name of a policy.")
        every = parse_every(entry.get("every"), f"{option}.every")
        yield entry["policy"], _MONTH if every.minutes is None else timedelta(minutes=every.minutes)


def _rules(entries: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, PolicyRules]]:
    for number, entry in enumerate(entries):
        if entry.get("keep") is not None:
            option = f"policies[{number}]"
            keep = parse_keep(entry["keep"], f"{option}.keep")
            yield entry["policy"], PolicyRules(keep, parse_every(entry["every"], f"{option}.every"))


def _regions(regions: Iterable[str], own: str) -> Iterable[str]:
    for name in dict.fromkeys(regions):
        if not is_region(str(name)):
            raise SpecError(f"copy_regions: {name!r} is not the name of a region. Use a name such as eu-west-1.")
        if name != own:
            yield str(name)


def _accounts(accounts: Iterable[Any]) -> Iterable[str]:
    for account in accounts:
        if not _ACCOUNT.fullmatch(str(account)):
            raise SpecError(f"trusted_accounts: {account!r} is not an account id. Quote its 12 digits.")
        yield str(account)


def _ignores(entries: Iterable[Mapping[str, Any]]) -> Iterable[Ignore]:
    for number, entry in enumerate(entries):
        option = f"ignore[{number}]"
        _require_keys(entry, _IGNORE_KEYS, option)
        reason = entry.get("reason")
        if not isinstance(reason, str) or not reason.strip():
            raise SpecError(f"{option}.reason: no reason is given. The report shows it beside each ignored finding.")
        if not any(entry.get(key) for key in ("resource", "finding", "tags")):
            raise SpecError(f"{option}: the rule ignores everything. Set resource, finding or tags.")
        finding = entry.get("finding") or "*"
        if not any(fnmatchcase(known, finding) for known in IDS):
            raise SpecError(f"{option}.finding: no finding has the id {finding!r}. Use {', '.join(sorted(IDS))}.")
        tags = _selection(entry.get("tags") or {}, f"{option}.tags")
        yield Ignore(reason.strip(), entry.get("resource") or "*", finding, tags)


def _require_keys(entry: Any, known: frozenset[str], option: str) -> None:
    if not isinstance(entry, Mapping):
        raise SpecError(f"{option}: {entry!r} is not a mapping. Use the keys {', '.join(sorted(known))}.")
    for key in entry:
        if key not in known:
            raise SpecError(f"{option}: there is no key {key!r}. Use {', '.join(sorted(known))}.")
