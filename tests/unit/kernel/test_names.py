# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ids, planned ids, tokens."""

from __future__ import annotations

import string

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import (
    client_token,
    is_planned,
    kind_of,
    planned,
    planned_in,
    require_id,
    require_image_name,
    substitute,
)
from hypothesis import given
from hypothesis import strategies as st

KINDS = st.sampled_from(["instance", "image", "snapshot", "volume"])
NAMES = st.text(alphabet=string.ascii_letters + string.digits + "()[] /.-_:", min_size=1, max_size=30)


@given(KINDS, NAMES)
def test_a_planned_id_is_recognised_wherever_it_stands(kind: str, name: str) -> None:
    made = planned(kind, name)
    assert is_planned(made)
    assert kind_of(made) == kind
    assert planned_in({"reason": f"from {made}, as it is"}) == planned_in({"a": [made, {"VolumeId": made}]}) == {made}


@given(st.dictionaries(st.builds(planned, KINDS, NAMES), st.just("x-1"), min_size=1))
def test_nothing_planned_is_left_after_substitution(bindings: dict[str, str]) -> None:
    value = {"list": [*bindings], "tuple": tuple(bindings), "reason": " and ".join(bindings), "other": 1, "none": None}
    done = substitute(value, bindings)
    assert planned_in(done) == set()
    assert isinstance(done["tuple"], tuple)
    assert (done["other"], done["none"]) == (1, None)


def test_unbound_planned_id_is_kept() -> None:
    assert substitute("(new image a)", {"(new image b)": "ami-1"}) == "(new image a)"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("i-0123456789abcdef0", "instance"),
        ("ami-01234567", "image"),
        ("snap-0123456789abcdef0", "snapshot"),
        ("vol-0123456789abcdef0", "volume"),
        ("i-012345678", None),
        ("i-0123456789ABCDEF0", None),
        ("i-0123456789abcdef0\n", None),
        ("sg-01234567", None),
        ("(new thing x)", None),
        ("", None),
    ],
)
def test_kind_of_an_id_is_known(value: str, kind: str | None) -> None:
    assert kind_of(value) == kind


def test_require_id_names_the_option() -> None:
    assert require_id("image", "ami-01234567", "image_id") == "ami-01234567"
    assert require_id("image", "(new image web/1)", "image_id") == "(new image web/1)"
    with pytest.raises(SpecError, match="image_id: 'i-01234567' is not an id"):
        require_id("image", "i-01234567", "image_id")


@pytest.mark.parametrize("name", ["web-1", "a (b) [c] ./-'@_", "x" * 128])
def test_valid_image_names_are_accepted(name: str) -> None:
    assert require_image_name(name) == name


@pytest.mark.parametrize("name", ["ab", "x" * 129, "web:1", "wéb", "web\n"])
def test_invalid_image_names_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match="image_name: "):
        require_image_name(name)


def test_tokens_are_stable_distinct_and_of_ec2s_length() -> None:
    tokens = [
        client_token(("a", "b")),
        client_token(("a", "b"), 1),
        client_token(("ab",)),
        client_token(("a", "b", "")),
    ]
    assert len(set(tokens)) == 4
    assert all(len(token) == 64 and token.isascii() for token in tokens)
    assert client_token(["a", "b"]) == tokens[0]
