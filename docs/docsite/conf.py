# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx's settings for the documentation site. tests/tools/docs.py lays out the pages, and sets EC2OPS_VERSION."""

from __future__ import annotations

import os
import re
from typing import Any

from docutils import nodes

project = "ec2ops.storage"
copyright = "the ec2ops.storage contributors"  # noqa: A001 - Sphinx's name
version = release = os.environ.get("EC2OPS_VERSION", "")
title = html_short_title = f"ec2ops.storage {release}"

extensions = ["sphinx_antsibull_ext", "myst_parser"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
myst_heading_anchors = 4
# The build needs no network: it looks nothing up in other projects.
intersphinx_mapping: dict[str, object] = {}
default_role = "any"
nitpicky = False
pygments_style = "ansible"
highlight_language = "YAML+Jinja"
# Examples are shown with their output, which has its own syntax.
suppress_warnings = ["misc.highlighting_failure"]
html_theme = "sphinx_ansible_theme"
html_show_sphinx = False
html_theme_options = {"documentation_home_url": "index.html", "topbar_links": {}, "swift_id": ""}

ANSIBLE = "https://docs.ansible.com/projects/ansible/latest"
# Labels of Ansible's own documentation that antsibull-docs refers to.
ELSEWHERE = {
    "action_plugins": "plugins/action.html",
    "common_return_values": "reference_appendices/common_return_values.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
}
_PLUGIN = re.compile(r"ansible_collections\.(amazon\.aws|ansible\.builtin)\.(\w+)")


def elsewhere(_app: Any, _env: Any, node: Any, content: Any) -> Any:
    """Return a link to docs.ansible.com for a label that is known to be there, or None."""
    label = str(node.get("reftarget", ""))
    plugin = _PLUGIN.fullmatch(label)
    path = f"collections/{plugin[1].replace('.', '/')}/{plugin[2]}.html" if plugin else ELSEWHERE.get(label)
    return nodes.reference("", "", content, refuri=f"{ANSIBLE}/{path}") if path else None


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("missing-reference", elsewhere)
