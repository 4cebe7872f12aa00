# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`ami_bake`: the options for copies, sharing, attributes and publication are refused by name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image.distribution_spec import (
    CopySpec,
    Distribution,
    Permissions,
    Publication,
    TemplateSpec,
    parse_distribution,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError

REGION = "eu-central-1"
ARN = "arn:aws:organizations::111122223333"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"copies": [{"region": "Ireland"}]}, "copies[0].region: 'Ireland' is not an AWS region"),
        ({"copies": [{"region": REGION}]}, "copies[0].region: eu-central-1 already has the image"),
        ({"copies": [{"region": "eu-west-1", "profile": "a@b"}]}, "copies[0].profile: 'a@b' has an @"),
        ({"copies": [{"region": "eu-west-1"}] * 2}, "copies[1]: eu-west-1 is listed twice"),
        ({"launch_permissions": {"user_ids": ["123"]}}, "launch_permissions.user_ids: '123' is not an account"),
        ({"launch_permissions": {"user_ids": ["all"]}}, "launch_permissions.user_ids: all makes the image public"),
        (
            {"launch_permissions": {"user_ids": ["all"], "snapshots": True}, "allow_public": True},
            "launch_permissions.snapshots: all in user_ids would make the snapshots public",
        ),
        (
            {"launch_permissions": {"organization_arns": [f"{ARN}:ou/o-abcdefghij/ou-abcd-12345678"]}},
            "launch_permissions.organization_arns: ",
        ),
        (
            {"launch_permissions": {"organizational_unit_arns": ["ou-abcd-12345678"]}},
            "launch_permissions.organizational_unit_arns: 'ou-abcd-12345678' is not an ARN",
        ),
        ({"deprecate_after": "soon"}, "deprecate_after: 'soon' is not a span of time"),
        ({"deprecate_after": "0d"}, "deprecate_after: 0d is out of range. Use a minute to ten years"),
        ({"deprecate_after": "4000d"}, "deprecate_after: 4000d is out of range. Use a minute to ten years"),
        (
            {"deprecate_after": "800d", "launch_permissions": {"user_ids": ["all"]}, "allow_public": True},
            "deprecate_after: 800d is too long for a public image. Use two years",
        ),
        ({"ssm_parameter": {"name": "my images"}}, "ssm_parameter.name: SSM does not take 'my images'"),
        ({"ssm_parameter": {"name": "/aws/web"}}, "ssm_parameter.name: SSM reserves names"),
        ({"ssm_parameter": {"name": "images/web"}}, "ssm_parameter.name: 'images/web' has a slash"),
        ({"launch_template": {}}, "launch_template: the task needs exactly one of id and name"),
        (
            {"launch_template": {"id": "lt-1", "name": "web"}},
            "launch_template: the task needs exactly one of id and name",
        ),
        ({"launch_template": {"id": "web"}}, "launch_template.id: 'web' is not an id"),
        ({"launch_template": {"name": "w!"}}, "launch_template.name: 'w!' is not the name"),
        ({"launch_template": {"name": "web", "version": 0}}, "launch_template.version: "),
        ({"launch_template": {"name": "web", "version": 7, "default": False}}, "launch_template.version: "),
    ],
)
def test_bad_option_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_distribution(options, REGION)
    assert str(refused.value).startswith(message)


def test_options_become_a_spec() -> None:
    given = {
        "copies": [{"region": "eu-west-1"}, {"region": REGION, "profile": "vault", "kms_key_id": " alias/a "}],
        "launch_permissions": {"user_ids": [111122223333, "111122223333"], "purge": False, "snapshots": True},
        "deprecate_after": "90d",
        "deregistration_protection": "enabled",
        "ssm_parameter": {"name": "/web", "publish": "force"},
        "launch_template": {"name": "web", "default": False},
    }
    assert parse_distribution(given, REGION) == Distribution(
        copies=(
            CopySpec("copies[0]", "eu-west-1"),
            CopySpec("copies[1]", REGION, "vault", "alias/a"),
        ),
        permissions=Permissions(("111122223333",), purge=False, snapshots=True),
        deprecate_after=timedelta(days=90),
        protection="enabled",
        parameter=Publication("/web", force=True),
        template=TemplateSpec("web", by_name=True, default=False),
    )
    assert parse_distribution({"deprecate_after": "never"}, REGION) == Distribution(never_deprecate=True)
    assert parse_distribution({}, REGION) == Distribution()
