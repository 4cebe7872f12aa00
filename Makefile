# `make help` lists the targets. Each sets up what it needs, in .venv and .work, and nothing outside of the checkout.

PYTHON ?= python3
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Compiled files are what makes Python start fast, also where the caller has turned them off.
unexport PYTHONDONTWRITEBYTECODE

VENV_PYTHON := .venv/bin/python
IN_TREE := ansible_collections/ec2ops/storage
COLLECTION := .work/tree/$(IN_TREE)
# Runs a command with our programs first and nothing of the caller's configuration; IN_COLLECTION also in the copy of the
# collection, from which messages name files as they are named in the checkout.
RUN := $(VENV_PYTHON) tests/tools/environment.py
IN_COLLECTION := $(RUN) -C $(COLLECTION)
# Three for two cores, since a test often waits for the sandbox. Work stealing: the slow tests are few, and side by side.
PYTEST := $(RUN) pytest -n 3 --dist worksteal
# Independent tools side by side, each one's output in one piece, all of them even if one fails.
SIDE_BY_SIDE := $(MAKE) --no-print-directory --jobs=2 --output-sync=target --keep-going

TYPED := plugins/module_utils plugins/modules plugins/action plugins/plugin_utils tests/sandbox tests/tools
# The sandbox has tests of its own, make sandbox-tests. Runs that are killed, or meet another one, are most of the time
# of all roles' tests: make interruption-tests.
INTERRUPTED := $(addprefix tests/playbook/,test_interruptions.py test_interrupted_moves.py test_rotation_processes.py test_restore_processes.py)
CORES ?= oldest newest
CORE_OPTIONS ?=
CORE_TESTS ?= -m cores tests/playbook
PLANNERS := $(addprefix tests/unit/,domain image image_rotation inventory kernel power refresh relaunch restore rotation volumes)
TESTS := tests/unit tests/module tests/playbook $(addprefix --ignore=,$(INTERRUPTED))

.PHONY: help demo demo-report test quick bench sanity lint types unit sandbox-tests module-tests playbook-tests interruption-tests \
    core-tests browser-tests tree setup clean iam lint-python format lint-shell lint-yaml lint-spelling lint-ansible lint-docs \
    lint-changelog lint-package lint-license lint-workflows release prepare-release docs sandbox integration

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | while IFS=$$'\t' read -r name text; do \
	    printf '  make %-16s %s\n' "$$name" "$$text"; done

demo: tree  ## bake an image from a running instance and relaunch it, on the sandbox: check, run, run again
	@$(RUN) python tests/demo/demo.py

demo-report: tree  ## make a storage report of two regions with a history, on the sandbox
	@$(RUN) python tests/demo/report.py

sandbox: tree  ## a simulated EC2 for your shell, for eight hours: eval "$(make --silent sandbox)"
	@$(RUN) python tests/tools/sandbox_shell.py

test: tree  ## lint, types, and the tests: planners, gateway, modules, roles and playbooks
	@$(SIDE_BY_SIDE) lint-package lint-ansible lint-docs types lint-python lint-shell lint-yaml lint-spelling lint-changelog lint-license
	@$(PYTEST) $(TESTS)

# Without the sandbox the tests never wait: one process for each core. The tests of failures run the engine, too.
quick: tree  ## the planners alone, with few examples of each property
	@HYPOTHESIS_PROFILE=quick $(RUN) pytest -n 2 --dist worksteal -m "not sandbox" --ignore-glob='*_failures.py' $(PLANNERS)

bench: tree  ## measure the main job, outages, images, volumes, snapshots, reports, tasks and fleets: an hour
	@$(RUN) python tests/bench/bench.py

# The sanity tests run with the venv's own Python: others in PATH need not work, and modules are run by it alone.
sanity: tree  ## ansible-test sanity, without an ignore file
	@$(IN_COLLECTION) ansible-test sanity --local --color no \
	    --python "$$($(VENV_PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')"

lint: tree  ## all the lint-... below
	@$(SIDE_BY_SIDE) lint-package lint-ansible lint-docs lint-python lint-shell lint-yaml lint-spelling lint-changelog lint-license

# In the tree, so that a file has the one name that it is imported by.
types: tree  ## mypy, strict, on the plugins and the sandbox
	@$(RUN) -C .work/tree mypy \
	    --config-file $(IN_TREE)/pyproject.toml $(addprefix $(IN_TREE)/,$(TYPED)) | sed 's#^$(IN_TREE)/##'

unit: tree  ## the layers without Ansible: planners, gateway, rendering
	@$(PYTEST) tests/unit

sandbox-tests: tree  ## the sandbox itself, against what is known of EC2
	@$(PYTEST) tests/sandbox_tests

module-tests: tree  ## each module, on the sandbox
	@$(PYTEST) tests/module

playbook-tests: tree  ## roles and playbooks, on the sandbox, also interrupted
	@$(PYTEST) tests/playbook

interruption-tests: tree  ## playbooks that are killed, meet faults, or run twice at once
	@$(PYTEST) $(INTERRUPTED)

browser-tests: tree  ## the page of the storage report, in Chromium
	@$(RUN) python tests/tools/browser.py
	@$(RUN) pytest -n 0 tests/browser

# Other versions: make core-tests CORES=2.20 CORE_OPTIONS="--python 3.13". `cores.py --help` lists the options.
core-tests: tree  ## a playbook of each kind with the oldest ansible-core, and with the newest where there is a Python for it
	@for core in $(CORES); do \
	    $(RUN) python tests/tools/cores.py $(CORE_OPTIONS) "$$core" -n 3 --dist worksteal $(CORE_TESTS); done

iam: setup  ## write the IAM policies of docs/iam from their table
	@$(RUN) python tests/tools/iam.py

lint-python: setup  ## ruff, rules and format
	@$(RUN) ruff check --quiet
	@$(RUN) ruff format --check --quiet || { echo 'Not formatted as `ruff format` does it:'; $(RUN) ruff format --check; }

format: setup  ## let ruff format the Python files, and repair what it can
	@$(RUN) ruff check --quiet --fix || true
	@$(RUN) ruff format

lint-shell: setup  ## shellcheck
	@$(RUN) shellcheck .ci/run

lint-workflows: setup  ## schemas, security faults and shell of the workflows and pipelines
	@$(RUN) python tests/tools/workflows.py

lint-yaml: setup  ## yamllint
	@$(RUN) yamllint --strict .

lint-spelling: setup  ## codespell
	@git ls-files -z --cached --others --exclude-standard | xargs -0 $(RUN) codespell

lint-ansible: tree  ## ansible-lint, profile production
	@$(IN_COLLECTION) ansible-lint -q --nocolor

lint-docs: tree  ## antsibull-docs: every module's and role's documentation, and what it refers to
	@$(IN_COLLECTION) antsibull-docs lint-collection-docs . --plugin-docs --validate-collection-refs all \
	    --check-extra-docs-refs --skip-rstcheck

lint-changelog: tree  ## antsibull-changelog
	@$(IN_COLLECTION) antsibull-changelog lint

lint-package: tree  ## build the collection, look what is in it, import it as Galaxy does
	@$(RUN) python tests/tools/package.py

integration: tree  ## ansible-test integration, on the sandbox; one target: TARGETS=ebs_volume_spec
	@$(RUN) python tests/tools/integration.py $(TARGETS)

docs: tree  ## the documentation site, in .work/docs/html
	@$(RUN) python tests/tools/docs.py

release: tree  ## make release VERSION=1.0.0: a release in a copy of the checkout, as a dry run
	@$(RUN) python tests/tools/release.py $${VERSION:?make release VERSION=1.0.0}

prepare-release: tree  ## make prepare-release VERSION=1.0.0: version and changelog, in the checkout
	@$(RUN) python tests/tools/release.py $${VERSION:?make prepare-release VERSION=1.0.0} --prepare

lint-license: setup  ## reuse: every file has a copyright and a license
	@$(RUN) reuse lint --quiet || $(RUN) reuse lint

tree: setup  ## bring .work/tree, the copy of the collection that is run and tested, up to date
	@$(RUN) python tests/tools/tree.py

setup:  ## set up .venv and .work for $(PYTHON), if that has not been done
	@$(PYTHON) -I tests/tools/bootstrap.py

clean:  ## remove all that was set up or made
	rm -rf .venv .work tests/output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
