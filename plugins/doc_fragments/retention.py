# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# The options of the modules that apply rules of retention. {item} is the thing that the rules count, {resource} the
# resource of EC2 behind it, and {latest} the newest good one. A module adds the descriptions of the options themselves.
_OPTIONS = r"""
options:
  keep:
    type: dict
    suboptions: &rules
      last:
        description: Keep this number of the newest {item}s. V(unlimited) or V(-1) keeps all. The other counts accept
          these values too.
        type: str
      hourly:
        description: For this number of the newest hours that have a {item}, keep the newest one of each hour.
        type: str
      daily:
        description: For this number of the newest days that have a {item}, keep the newest one of each day.
        type: str
      weekly:
        description: For this number of the newest ISO weeks that have a {item}, keep the newest one of each week.
        type: str
      monthly:
        description: For this number of the newest months that have a {item}, keep the newest one of each month.
        type: str
      quarterly:
        description: For this number of the newest quarters that have a {item}, keep the newest one of each quarter.
        type: str
      yearly:
        description: For this number of the newest years that have a {item}, keep the newest one of each year.
        type: str
      within:
        description:
          - Keep all {item}s that are younger than this span, measured from O(keep.reference).
          - A number with V(min), V(h), V(d), V(w), V(m) (months) or V(y), or several of these, such as V(1y6m). Months
            and years follow the calendar.
        type: str
      hourly_within:
        description: Keep the newest {item} of each hour within this span.
        type: str
      daily_within:
        description: Keep the newest {item} of each day within this span.
        type: str
      weekly_within:
        description: Keep the newest {item} of each ISO week within this span.
        type: str
      monthly_within:
        description: Keep the newest {item} of each month within this span.
        type: str
      quarterly_within:
        description: Keep the newest {item} of each quarter within this span.
        type: str
      yearly_within:
        description: Keep the newest {item} of each year within this span.
        type: str
      timezone:
        description: The time zone of the calendar (hours, days and longer periods), as an IANA name.
        type: str
        default: UTC
      reference:
        description:
          - The moment from which ages are measured. V(latest) is {latest}. With this value, a job that has stopped does
            not delete its own history. V(now) is the time of the run.
        type: str
        choices: [latest, now]
        default: latest
      oldest:
        description: A rule with fewer {item}s than its count also keeps the oldest one, as in restic.
        type: bool
        default: false
  protect:
    description:
      - The module keeps these {item}s, and they do not displace other {item}s. One of O(protect.tags) and
        O(protect.tag_keys) is required.
      - Quote values, since YAML turns V(yes) into V(true). The module refuses values other than text.
    type: dict
    suboptions:
      tags:
        description: Protect {resource}s that have any of these tags.
        type: dict
      tag_keys:
        description: Protect {resource}s that have a tag with any of these keys, and any value.
        type: list
        elements: raw
  max_delete:
    type: int
    default: 100
  expected_plan:
    type: str
  report:
    type: str
    choices: [actions, all, summary]
    default: actions
  copies:
    type: list
    elements: dict
    suboptions:
      region:
        description: The region of the copies.
        type: str
        required: true
      keep:
        description: The rules for the copies in this place, as in O(keep).
        type: dict
        required: true
        suboptions: *rules
"""

# The other suboptions of copies, which end the text above. A module cannot add suboptions to those of a fragment.
_PLACES_OF_IMAGES = r"""
      profile:
        description:
          - The copies are in the account of this profile of the AWS configuration on the host of the module. The module
            compares accounts, not names of profiles, and refuses a second entry for one region of one account.
        type: str
"""
_PLACES_OF_SNAPSHOTS = r"""
      profile:
        description:
          - Copy to the account of this profile of the AWS configuration on the host of the module. The module shares
            originals with the account while it copies them, and the tag C(ec2ops:shared-with) records that.
          - EC2 cannot share snapshots that the account's default key encrypts.
          - The module compares accounts, not names of profiles. It refuses an entry for the region and account of
            another entry, or of the task itself.
        type: str
      kms_key_id:
        description:
          - The key in that region that encrypts the copies. By default, copies of encrypted snapshots get the region's
            default key, and other copies are not encrypted.
        type: str
      wait:
        description: Make all copies and wait until they are completed. Only with O(wait=true).
        type: bool
        default: false
"""


class ModuleDocFragment:
    # The type tells the YAML lint of ansible-test that these texts are computed.
    IMAGES: str = (
        _OPTIONS.format(item="version", resource="AMI", latest="the creation of the newest available version")
        + _PLACES_OF_IMAGES
    )
    SNAPSHOTS: str = (
        _OPTIONS.format(
            item="snapshot",
            resource="snapshot",
            latest="the newest completed snapshot of the same volume or instance",
        )
        + _PLACES_OF_SNAPSHOTS
    )
