# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a feature: read, plan, and, unless in check mode, apply. Only this file knows about check mode and ends the task.

Private to this collection.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.basic import _load_params as load_params
from ansible.module_utils.common.validation import check_type_dict
from ansible.module_utils.common.warnings import warn
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from .._aws.connecting import missing_region, own_profile, refuse
from .._aws.gateway import Ec2Gateway, module_clients
from .._kernel.display import visible
from .._kernel.errors import SpecError, StorageError
from .._kernel.facts import DEFERRAL, Deferral
from .._kernel.failures import CallError
from .._kernel.ids import is_planned, planned_in
from .._kernel.plan import Feature, Plan, guard
from .._kernel.prediction import bound, overlay
from .._kernel.progress import SILENT, Progress
from .._kernel.state import NeedsAnswers, Query, State, by_id
from . import rendering, result_file
from .options import COMMON, Options, assumed_entries, module_arguments
from .ports import Gateway, Host, Outcome, Shell
from .price_file import price_file


class Program:
    """The program of a module: its feature, its options and the constraints among them.

    Options and constraints are merged with those of *groups*. *examples* holds correct values of options that are
    mappings, see `misfits`.
    """

    def __init__(
        self,
        feature: Feature,
        argument_spec: Mapping[str, Any],
        *groups: Options,
        examples: Mapping[str, str] | None = None,
        **constraints: Any,
    ) -> None:
        self._feature = feature
        self._options = (COMMON, *groups, Options(argument_spec, constraints))
        self._examples = examples or {}

    def run(self, host: Host | None = None) -> None:
        """Run the module on *host*, by default in a process of its own. It ends with SystemExit."""
        host = host or OwnProcess()
        with _told_with_examples(self._examples, host):
            module = AnsibleAWSModule(supports_check_mode=True, **module_arguments(*self._options))
        shell = _ModuleShell(module, host)
        region = module.region
        if not region:
            error = SpecError(missing_region(module))
            shell.fail(str(error), rendering.refusal(error, Plan(), {}))
            return
        module.fail_json_aws = partial(refuse, own_profile(module))
        gateway = Ec2Gateway(module_clients(module), region, progress=shell.progress, profile=own_profile(module))
        # A large listing stays in memory until the end. The garbage collector would search all of it at every page.
        usual = gc.get_threshold()
        gc.set_threshold(200_000)
        try:
            with host.interruptible(gateway.stop):
                execute(self._feature, shell, gateway)
        finally:
            gc.set_threshold(*usual)


class OwnProcess:
    """`ports.Host` of a module that has a process of its own. It can report only at its end."""

    lasting = False
    module_class: type[Any] = AnsibleModule

    def parameters(self) -> Mapping[str, Any]:
        """Return the parameters from standard input. A tool that only reads the options passes none."""
        return load_params() or {}

    def progress(self, secrets: Collection[str]) -> Progress:  # noqa: ARG002  # part of the protocol
        """Return a receiver that shows nothing."""
        return SILENT

    def interruptible(self, stop: Callable[[], None]) -> AbstractContextManager[None]:  # noqa: ARG002
        """Do nothing: a signal ends the process at once."""
        return nullcontext()


@contextmanager
def _told_with_examples(examples: Mapping[str, str], host: Host) -> Iterator[None]:
    """In this context, modules refuse a plain value in place of a mapping, and show the example of its option.

    Ansible's own check names no option for a list's item, and raises a TypeError itself over a number.
    """

    class Module(host.module_class):  # type: ignore[name-defined]
        def __init__(self, argument_spec: Mapping[str, Any], **more: Any) -> None:
            texts = misfits(host.parameters(), examples, argument_spec)
            # A misfit passes as raw here, so that Ansible treats all other options, such as secrets, as usual.
            passing = {path.partition(".")[0].removesuffix("[]"): {"type": "raw"} for path in examples}
            super().__init__({**argument_spec, **passing} if texts else argument_spec, **more)
            if texts:
                self.fail_json(" ".join(texts))

    usual = AnsibleAWSModule.default_settings["module_class"]
    # amazon.aws has this class in two places, and reads this one.
    AnsibleAWSModule.default_settings["module_class"] = Module
    try:
        yield
    finally:
        AnsibleAWSModule.default_settings["module_class"] = usual


def misfits(
    params: Mapping[str, Any], examples: Mapping[str, str], argument_spec: Mapping[str, Any] | None = None
) -> list[str]:
    """Return a sentence for each value in place of a mapping or a list: its option, the value, and an example.

    *examples* by the path of the option, with ``[]`` after the name of a list. Ansible's own message has no example.
    *argument_spec* shows the required lists, and the mappings with secrets, whose values are not shown.
    """
    options = argument_spec or {}
    texts = []
    for path, example in examples.items():
        option = options.get(path.partition(".")[0].removesuffix("[]"), {})
        secret = any(one.get("no_log") for one in (option.get("options") or {}).values())
        wrong = [(label, value, "list") for label, value in _no_lists(params, path, required=option.get("required"))]
        wrong += [(label, value, "mapping") for label, value in _values(params, path) if not _is_mapping(value)]
        texts += [
            f"{label}: {_shown(value, secret)} is not a {kind}. Write it as in {example}."
            for label, value, kind in wrong
        ]
    return texts


def _shown(value: Any, secret: bool) -> str:
    """Return the value for a message, or only its kind if it may hold a *secret*."""
    if secret:
        return "the given text" if isinstance(value, str) else "the given value"
    return "null" if value is None else repr(value)


def _no_lists(params: Mapping[str, Any], path: str, *, required: bool | None) -> Iterator[tuple[str, Any]]:
    """Yield the value in place of a list, if the path ends at that list. Null counts only where it is *required*.

    Ansible makes lists of texts and numbers, so these values are valid.
    """
    name = path.removesuffix("[]")
    if name == path or "." in name or name not in params:
        return
    value = params[name]
    if isinstance(value, Mapping) or (value is None and required):
        yield name, value


def _values(params: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """Yield each value at the path with its label, except null."""
    option, _dot, rest = path.partition(".")
    name = option.removesuffix("[]")
    value = params.get(name)
    if name == option:
        items = [(name, value)]
    else:
        items = [(f"{name}[{number}]", item) for number, item in enumerate(_as_list(value))]
    for label, item in items:
        if item is None:
            continue
        if not rest:
            yield label, item
        elif isinstance(item, Mapping):
            yield from ((f"{label}.{inner}", found) for inner, found in _values(item, rest))


def _as_list(value: Any) -> list[Any]:
    """Return the items that Ansible makes of a list's value: it splits text at commas."""
    if isinstance(value, list):
        return value
    return str(value).split(",") if isinstance(value, (str, int, float)) else []


def _is_mapping(value: Any) -> bool:
    """Return whether Ansible accepts the value as a mapping. It reads JSON and ``key=value`` from text."""
    try:
        check_type_dict(value)
    except TypeError:
        return False
    return True


class _ModuleShell:
    """`ports.Shell` over an Ansible module."""

    def __init__(self, module: AnsibleAWSModule, host: Host) -> None:
        self._module = module
        self._lasting = host.lasting
        self.progress = host.progress(module.no_log_values)
        self.params: Mapping[str, Any] = module.params
        self.check_mode: bool = module.check_mode
        self.diff: bool = module._diff

    def warn(self, message: str) -> None:
        # AnsibleAWSModule.warn would pass it to exit_json again, which ansible-core deprecates.
        warn(message)

    def exit(self, result: Mapping[str, Any]) -> None:
        self._leave()
        self._module.exit_json(**result)

    def fail(self, message: str, result: Mapping[str, Any]) -> None:
        self._leave()
        self._module.fail_json(msg=message, **result)

    def _leave(self) -> None:
        """Keep all objects in memory until the process ends.

        To free botocore's service model object by object takes longer than a call to EC2.
        """
        if not self._lasting:
            gc.freeze()


def execute(feature: Feature, shell: Shell, gateway: Gateway) -> None:
    """Run *feature* with the shell's parameters, and end the task with `Shell.exit` or `Shell.fail`."""
    plan = Plan()
    try:
        _require_time(shell.params["wait_timeout"])
        entries = assumed_entries(shell.params.get("assume")) if shell.check_mode else []
        options = _Extras.read(feature, shell, gateway)
        spec = feature.parse(options.params, gateway.region)
        with _no_collection():
            state, planned = _planned(feature, spec, gateway, entries)
            if len(state.resources) > _MANY:
                gc.freeze()
        known = {one.resource_id for one in state.resources.values() if is_planned(one.resource_id)}
        plan = guard(planned, known | {entry["resource"] for entry in entries})
        _rehearse(plan, gateway)
        predicted = overlay(state, plan.published(), everywhere=True)
        result = _done(feature, spec, plan, predicted, gateway) if shell.check_mode else None
        costs = options.estimate(plan, state)
        if result is not None and plan.refused is not None:
            result = {**result, "msg": str(plan.refused), **rendering.errors_of(plan.refused)}
    except StorageError as error:
        shell.fail(visible(str(error)), rendering.refusal(error, plan, gateway.calls))
        return
    for warning in plan.warnings:
        shell.warn(visible(warning))
    shown = plan
    if result is None:
        shell.progress.planned(Counter(change.action for change in plan.changes))
        outcome = _applied(plan, shell.params, gateway)
        for note in outcome.notes:
            shell.warn(visible(note))
        result = _told(feature, spec, state, plan, outcome, gateway, options.path)
        shown = plan.without(outcome.left_changes)
    result.update(costs)
    if shell.diff:
        result["diff"] = rendering.diff(shown)
    if "error" in result:
        shell.fail(visible(result.pop("msg")), result)
    else:
        shell.exit(result)


def _applied(plan: Plan, params: Mapping[str, Any], gateway: Gateway) -> Outcome:
    """Carry out *plan*. Most tasks of most runs have an empty plan, so the files for this are loaded only here."""
    if not plan.stages:
        return Outcome()
    from .apply import apply

    return apply(plan, gateway, wait=bool(params["wait"]), timeout=float(params["wait_timeout"]))


@dataclass(frozen=True)
class _Extras:
    """The options beside a feature's own: ``path`` of the result file, and the text of the file of ``prices``.

    ``prices`` is None if the feature has no estimate. The text is empty without a file.
    """

    params: Mapping[str, Any]
    path: str = ""
    prices: str | None = None

    @classmethod
    def read(cls, feature: Feature, shell: Shell, gateway: Gateway) -> _Extras:
        """Return the options. Raises SpecError for a file that cannot be read or written."""
        text = price_file() if feature.reads_prices or feature.estimates else ""
        path = str(shell.params.get("result_file") or "") if feature.bounded is not None else ""
        if path and not shell.check_mode:
            result_file.require_place(path)
        params = {**shell.params, "prices_text": text} if feature.reads_prices else shell.params
        if not feature.estimates:
            return cls(params, path)
        if text:
            from .._kernel.prices import prices_for

            prices_for(gateway.region, text=text)  # refuses a malformed file before the first call
        return cls(params, path, text)

    def estimate(self, plan: Plan, state: State) -> dict[str, Any]:
        """Return the part of the result about the plan's cost."""
        if self.prices is None:
            return {}
        if plan.is_empty:
            return {"cost_estimate": None}
        from .._kernel.prices import prices_for
        from .estimates import estimate

        text = self.prices
        return {"cost_estimate": estimate(plan.changes, state, lambda region: prices_for(region, text=text))}


def _rehearse(plan: Plan, gateway: Gateway) -> None:
    """Rehearse the plan's calls that ask for it, and that use no planned id.

    Raises CallError if EC2 would refuse one. At this moment the run has changed nothing, and no instance has stopped in
    vain.
    """
    for change in plan.changes:
        if change.rehearsed and not planned_in(change.parameters):
            try:
                gateway.rehearse(change)
            except CallError as error:
                error.args = (f"{error} The call was a DryRun, so the task has changed nothing.",)
                raise


def _require_time(seconds: float) -> None:
    """Raise SpecError for less than a second. Otherwise every change would fail, and some would be rolled back."""
    if seconds < 1:
        raise SpecError(f"wait_timeout: {seconds} is less than 1 second. Use wait: false to skip waiting.")


_MANY = 10_000
"""With so many resources, their objects stay out of the garbage collector's search until the process ends."""


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the garbage collector.

    A large listing and its plan are millions of objects that all stay. The collector would search them again and again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _planned(feature: Feature, spec: Any, gateway: Gateway, entries: list[Mapping[str, Any]]) -> tuple[State, Plan]:
    """Return EC2's answers and the feature's plan. The feature plans anew with each round of answers.

    The state also includes the plans of earlier tasks (*entries*). A volume that they attach is read too, since EC2
    does not show that attachment yet. Raises StorageError.
    """
    read = State(gateway.region, open=True)
    attached = [entry["resource"] for entry in entries if entry["action"] == "AttachVolume"]
    assumed = by_id("DescribeVolumes", "volume-id", attached)
    while True:
        state = overlay(read, entries) if entries else read
        try:
            plan = feature.plan(spec, state, read.now or _NEVER)
            if read.now is not None:
                return state, plan
            missing = assumed
        except NeedsAnswers as needed:
            missing = tuple(query for query in (*assumed, *needed.queries) if query not in read.answered)
        failures: dict[Query, StorageError] = {}
        answers = gateway.ask(missing, failures)
        in_order = {query: failures[query] for query in missing if query in failures}
        read = replace(read.with_answers(answers), now=gateway.now(), unanswered={**read.unanswered, **in_order})


_NEVER = datetime.min.replace(tzinfo=UTC)
"""The time before EC2's first answer. A plan with this time is discarded."""


def _done(
    feature: Feature,
    spec: Any,
    plan: Plan,
    state: State,
    gateway: Gateway,
    outcome: Outcome | None = None,
    path: str = "",
) -> dict[str, Any]:
    """Return the result of a successful run, or of a check run, from the *state* after it.

    A run writes the whole result to *path*. Raises StorageError if that fails.
    """
    whole = feature.result(spec, state)
    shown = whole if feature.bounded is None else feature.bounded(spec, whole)
    if path == result_file.PACKED and outcome is not None:
        shown = {**shown, result_file.KEY: result_file.packed(whole)}
    elif path and outcome is not None:
        result_file.write(path, result_file.texts_of(whole))
    return rendering.success(
        plan,
        shown,
        gateway.calls,
        outcome,
        figures=lambda result: feature.headline(spec, result),
    )


def _told(
    feature: Feature, spec: Any, state: State, plan: Plan, outcome: Outcome, gateway: Gateway, path: str = ""
) -> dict[str, Any]:
    """Return the result of a run that has carried out *plan*. The result of a failure has ``error`` and ``msg``."""
    error = outcome.error
    if error is None:
        try:
            result = _done(feature, spec, plan, _after(state, plan, outcome), gateway, outcome, path)
        except StorageError as unexpected:
            error = unexpected
        else:
            if plan.refused is None:
                return result
            return {**result, **rendering.failure(plan.refused, plan, outcome, gateway.calls), "msg": str(plan.refused)}
    # The user must also learn of a part that the plan refused.
    done = "" if outcome.error is None else rendering.done_before(outcome)
    message = rendering.sentences(
        str(error), done, rendering.not_tried(outcome), "" if plan.refused is None else f"Also refused: {plan.refused}"
    )
    return {"msg": message, **rendering.failure(error, plan, outcome, gateway.calls)}


def _after(state: State, plan: Plan, outcome: Outcome) -> State:
    """Return *state* after the finished changes of *plan*, as the waits last saw it.

    A deferred change adds a `DEFERRAL`.
    """
    predicted = overlay(state, plan.without(outcome.left_changes).published(), everywhere=True)
    facts = [
        DEFERRAL.fact(
            outcome.bindings.get(change.resource, change.resource),
            Deferral(refusal.code, refusal.message, refusal.not_before),
        )
        for change, refusal in outcome.deferred
    ]
    return bound(predicted, outcome.bindings, outcome.start_of).with_resources([*outcome.observed.values(), *facts])
