# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Render the module's result and the diff. Pure.

Neither has secrets, since a plan publishes user data as its hash, and the diff only shows views of resources.

Private to this collection.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .._kernel.display import visible, visible_lines
from .._kernel.errors import Incomplete, Several, StorageError, Unanswered, bounded, listed
from .._kernel.failures import CallError, WaitError
from .._kernel.ids import substitute
from .._kernel.places import Place
from .._kernel.plan import Change, Plan
from .._kernel.report import Course, Withdrawal
from .._kernel.times import format_moment
from .headline import headline
from .ports import Outcome

_WAIT_CODES = {"failed": "WaitFailed", "mismatch": "WaitMismatch", "timeout": "WaitTimeout"}


def success(
    plan: Plan,
    entities: Mapping[str, Any],
    calls: Mapping[str, int],
    outcome: Outcome | None = None,
    *,
    figures: Callable[[Mapping[str, Any]], str] = lambda _result: "",
) -> dict[str, Any]:
    """Return the result of a run that carried out its plan, or of a check run (without an *outcome*).

    ``plan`` is the same in both cases, and ``planned_ids`` maps its planned ids to EC2's. Deferred and withdrawn
    changes are in the plan, but do not count as changes. *figures* returns the feature's own part of ``msg``.
    """
    if outcome is None:
        entities = {**entities, **plan.report.result}
    else:
        report = plan.report.finished(outcome.left_changes, _withdrawals(outcome), outcome.bindings)
        entities = {**entities, **report, **_measured(plan, outcome)}
    made = plan.without(outcome.left_changes if outcome else ())
    return {
        **entities,
        "msg": visible(headline(made.changes, figures(entities), planned=outcome is None)),
        "changed": not made.is_empty,
        "plan": plan.published(),
        "planned_ids": dict(outcome.bindings) if outcome else {},
        "api_calls": dict(calls),
    }


def _measured(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """Return the measured list of the plan's report, with the seconds of the resources that the run changed."""
    name = plan.report.measured
    if not name:
        return {}
    changed = {substitute(change.resource, outcome.bindings) for change in plan.changes}
    entries: list[dict[str, Any]] = substitute(plan.report.result[name], outcome.bindings)
    seconds = {one: round(outcome.seconds[one], 1) for one in changed.intersection(outcome.seconds)}
    return {name: [{**entry, "seconds": seconds.get(entry["volume_id"])} for entry in entries]}


def _is_over(entry: Mapping[str, Any], plan: Plan, outcome: Outcome) -> bool:
    """Return whether a failed run made all changes of the entry's resource and saw their effect."""
    stuck = {one for error in outcome.errors if isinstance(error, WaitError) for one in error.resources}
    done = {id(change) for change in outcome.done}
    return entry["volume_id"] not in stuck and all(
        id(change) in done
        for change in plan.changes
        if substitute(change.resource, outcome.bindings) == entry["volume_id"]
    )


def _withdrawals(outcome: Outcome) -> dict[str, Withdrawal]:
    return {change.resource: why for change, why in outcome.withdrawn}


def refusal(error: StorageError, plan: Plan, calls: Mapping[str, int]) -> dict[str, Any]:
    """Return the result of a run that changed nothing, since the options, EC2's state or the first reads forbade it."""
    return {
        "changed": False,
        "plan": plan.published(),
        "planned_ids": {},
        "api_calls": dict(calls),
        **errors_of(error),
        "done": [],
        "failed_changes": [],
        "not_tried": plan.published(),
    }


def failure(error: StorageError, plan: Plan, outcome: Outcome, calls: Mapping[str, int]) -> dict[str, Any]:
    """Return the result of a run that failed after its first change. Entries of ``done`` have EC2's ids if there are
    any.

    ``changed`` counts a call with a lost answer as carried out. Deferred changes count as failed, withdrawn ones as not
    tried.
    """

    def published(changes: Iterable[Change]) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = [outcome.bound(change.published()) for change in changes]
        return entries

    so_far = plan.report.so_far(outcome.done, _withdrawals(outcome), outcome.bindings)
    if plan.report.partly is not None:
        so_far |= substitute(plan.report.partly(_course(outcome)), outcome.bindings)
    for name, entries in _measured(plan, outcome).items():
        so_far[name] = [entry for entry in entries if _is_over(entry, plan, outcome)]
    unclear = bool(outcome.failed) and any(isinstance(one, CallError) and one.unclear for one in outcome.errors)
    return {
        **(so_far if outcome.error is not None else {}),
        "changed": bool(outcome.done or outcome.rolled_back) or unclear,
        "plan": plan.published(),
        "planned_ids": dict(outcome.bindings),
        "api_calls": dict(calls),
        **errors_of(error, plan.refused),
        "done": published(outcome.done),
        "failed_changes": published([*outcome.failed, *outcome.deferred_changes]),
        "not_tried": [
            *({**published([change])[0], "depends_on": _cause(change, outcome)} for change in outcome.not_tried),
            *published(outcome.withdrawn_changes),
        ],
        "rolled_back": published(outcome.rolled_back),
    }


def _course(outcome: Outcome) -> Course:
    reasons = {key: f"not tried, since {cause} failed" for key, cause in outcome.causes.items()} | outcome.reasons
    return Course(frozenset(map(id, outcome.done)), reasons)


def done_before(outcome: Outcome) -> str:
    """Return a sentence that counts the calls before the failure, by operation, or an empty text if there were none."""
    by_action: dict[str, list[str]] = {}
    for change in outcome.done:
        by_action.setdefault(change.action, []).append(substitute(change.resource, outcome.bindings))
    texts = [f"{action} of {listed(resources)}" for action, resources in by_action.items()]
    return f"Done before: {'; '.join(texts)}." if texts else ""


def not_tried(outcome: Outcome) -> str:
    """Return a sentence about the changes that depend on a failed one. Return an empty text for none."""
    by_cause: dict[tuple[str, str], list[str]] = {}
    for change in outcome.not_tried:
        resource = substitute(change.resource, outcome.bindings)
        by_cause.setdefault((_cause(change, outcome), change.action), []).append(resource)
    texts = [f"{action} of {listed(resources)} (depends on {cause})" for (cause, action), resources in by_cause.items()]
    return f"Not tried: {'; '.join(bounded(texts))}." if texts else ""


def _cause(change: Change, outcome: Outcome) -> str:
    """Return the resource of the failed step on which the change depends."""
    cause: str = substitute(outcome.causes.get(id(change), ""), outcome.bindings)
    return cause


def sentences(*texts: str) -> str:
    """Return the non-empty texts, joined as sentences with a full stop between them."""
    first, *rest = [text.rstrip() for text in texts if text]
    for text in rest:
        first = f"{first}{'' if first.endswith(('.', '!', '?')) else '.'} {text}"
    return first


def errors_of(error: StorageError, refused: StorageError | None = None) -> dict[str, Any]:
    """Return ``error``, the first error, and ``errors``, all of them.

    *refused*: the error of the part that was left out.
    """
    several = [*_each(error), *(_each(refused) if refused is not None and refused is not error else ())]
    return {"error": described(error), "errors": [described(one) for one in several]}


def _each(error: StorageError) -> Iterator[StorageError]:
    """Yield the errors that this one stands for."""
    several = error.errors if isinstance(error, Several) else getattr(error, "causes", ())
    for one in several:
        yield from _each(one)
    if not several:
        yield error


def described(error: StorageError) -> dict[str, Any]:
    """Return ``{code, message, operation}``: AWS's own if AWS refused, or else the kind of error and its message.

    If AWS named a time for the next attempt, the mapping has ``not_before`` too.
    """
    if isinstance(error, Incomplete):
        return described(error.causes[0])
    if isinstance(error, Several):
        return {**described(error.errors[0]), "message": str(error)}
    if isinstance(error, Unanswered):
        return _described_together([described(cause) for cause in error.causes])
    if isinstance(error, CallError):
        view = {"code": error.code, "message": error.message, "operation": error.operation}
        return view if error.not_before is None else {**view, "not_before": format_moment(error.not_before)}
    if isinstance(error, WaitError):
        return {"code": _WAIT_CODES.get(error.how, "WaitFailed"), "message": str(error), "operation": None}
    return {"code": type(error).__name__, "message": str(error), "operation": None}


def _described_together(causes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the first of several causes with the messages of all, since only AWS can decode a part of each."""
    if len(causes) == 1:
        return causes[0]
    return {**causes[0], "message": " ".join(f"{one['operation']}: {one['message']}" for one in causes)}


def diff(plan: Plan) -> list[dict[str, str]]:
    """Return one item per entry of the plan, in order: resource and reason in the header, then only lines that change.

    The plan's explanation comes last. Changes beyond `PlanReport.most_shown` are only counted.
    """
    changes = plan.changes
    items = [_diff_item(change) for change in changes[: plan.report.most_shown]]
    if len(items) < len(changes):
        number = f"{len(changes) - len(items)} more" if items else str(len(changes))
        items.append({"prepared": f"{number} changes in the plan\n"})
    return [*items, {"prepared": visible_lines(plan.report.text)}] if plan.report.text else items


def _diff_item(change: Change) -> dict[str, str]:
    before, after = _flat(change.before), _flat(change.after)
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    made_or_gone = "made" if change.before is None else "gone" if change.after is None else ""
    about = ", ".join(part for part in (made_or_gone, "disruptive" if change.disruptive else "") if part)
    return {
        "before_header": visible(f"{change.resource}, {Place.parse(change.region).region}"),
        "after_header": visible(f"{change.action} {change.resource}{f' ({about})' if about else ''}: {change.reason}"),
        "before": _lines(before, changed),
        "after": _lines(after, changed),
    }


def _flat(view: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the view with tags and lists of devices spread out, so that one changed tag or device is one line."""

    def spread(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, Mapping):
            for key, item in value.items():
                yield from spread(f"{prefix}.{key}", item)
        elif isinstance(value, (list, tuple)) and value and all(isinstance(item, Mapping) for item in value):
            for number, item in enumerate(value):
                name = item.get("device_name", number)
                yield f"{prefix}[{name}]", {key: part for key, part in item.items() if part is not None}
        else:
            yield prefix, value

    return {name: item for key, value in (view or {}).items() for name, item in spread(key, value)}


def _lines(values: Mapping[str, Any], keys: Iterable[str]) -> str:
    """Return the values as readable YAML. An unset value or an empty list has no line."""
    return "".join(
        visible(f"{key}: {_scalar(values[key])}") + "\n" for key in keys if values.get(key) not in (None, [], ())
    )


def _scalar(value: Any) -> str:
    return (
        value
        if isinstance(value, str) and value and "\n" not in value
        else json.dumps(value, ensure_ascii=False, default=str)
    )
