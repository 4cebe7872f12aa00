#!/usr/bin/python
# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: storage_report_files
short_description: Write a storage report of many accounts and regions into files
version_added: 0.1.0
description:
  - Joins the documents that C(ec2ops.storage.storage_info) made for several accounts and regions, and writes the report
    as HTML, JSON, CSV and Markdown.
  - The task runs on the controller and connects to no host. The role P(ec2ops.storage.storage_report#role) uses the
    module with C(run_once=true).
  - The HTML file is one page without network access. It stays under 5 MB with 100,000 snapshots. Beyond its limits, the
    page has the gravest findings and the newest snapshots of each volume, and says how many rows it leaves out. The
    JSON file has everything.
  - Every file has the mode 0600, and replaces an earlier file in one step.
  - A report describes resources and changes none, so the task never reports a change.
author:
  - The ec2ops.storage contributors (@ec2ops)
attributes:
  check_mode:
    description: Returns the key figures in C(check_mode), and writes no file.
    support: full
  diff_mode:
    description: Returns no details in diff mode, since the task changes nothing.
    support: none
  idempotent:
    description: The task never indicates a change.
    support: full
options:
  dest:
    description:
      - The folder for the files, on the controller. If there is none, the task makes it with the mode 0700.
      - A relative path begins at the folder in which Ansible was started.
    type: path
    required: true
  title:
    description: The heading of the report.
    type: str
    default: Storage report
  since:
    description:
      - The C(report.json) of an earlier report. The report shows the changes since then. By default, this is the file
        in O(dest), before the task replaces it. Without an earlier report, there are no changes to show.
    type: path
  lost:
    description:
      - Hosts that failed, or were unreachable, before their storage could be read. The report names them.
    type: list
    elements: str
    default: []
  documents:
    description: An entry for each account and region.
    type: list
    elements: dict
    required: true
    suboptions:
      host:
        description: The name of the host that stands for the account and region.
        type: str
        required: true
      path:
        description: The file with the document, on the controller, as C(result_file) of C(ec2ops.storage.storage_info).
        type: path
      document:
        description:
          - The document itself, as C(ec2ops.storage.storage_info) returns it. O(documents[].path) is preferred.
        type: dict
      error:
        description: The reason why there is no document. The report shows it.
        type: str
"""

EXAMPLES = r"""
- name: Write the report of two regions
  ec2ops.storage.storage_report_files:
    dest: /var/lib/reports/storage
    title: Storage of the shop
    documents:
      - host: frankfurt
        path: /var/tmp/frankfurt.json
      - host: ireland
        error: "DescribeVolumes failed: UnauthorizedOperation"
"""

RETURN = r"""
msg:
  description: One line about the report. On failure, the reason.
  returned: always
  type: str
  sample: 2 places, 14 findings (3 high), 2 volumes at risk; the report is /var/lib/reports/storage/report.html
files:
  description: The file of each format. Empty in check mode.
  returned: success
  type: dict
  sample:
    html: /var/lib/reports/storage/report.html
    json: /var/lib/reports/storage/report.json
    csv: /var/lib/reports/storage/findings.csv
    markdown: /var/lib/reports/storage/report.md
figures:
  description: The key figures of all places together, as C(figures) of the JSON file.
  returned: success
  type: dict
  sample:
    cost: [{"currency": "USD", "least": 135.2, "most": 1213.2, "exact": false}]
    findings: {"high": 3, "medium": 4, "low": 7, "info": 0}
changes:
  description:
    - The changes since the earlier report, as C(changes) of the JSON file, or null without one. A list has at most 50
      entries.
  returned: success
  type: dict
  sample:
    since: "2026-11-29T06:30:00Z"
    findings: {"new": 2, "solved": 1}
    cost: [{"currency": "USD", "least": 8.0, "most": 12.0}]
    worse_volumes: 1
places:
  description: The key figures of each place, in the order of O(documents). A place without a document has its C(error).
  returned: success
  type: list
  elements: dict
  sample: [{"host": "frankfurt", "error": null, "region": "eu-central-1", "volumes": 12}]
"""
