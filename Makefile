# The commands of this project; `make` lists them.  Each first installs what is missing, which
# takes no time if nothing is.

BIN := .venv/bin
READY := .venv/set-up
# What may call make itself does not get our jobs and options:
ALONE := MAKEFLAGS= MFLAGS=
PYTEST := $(ALONE) $(BIN)/python -m pytest
# A make inside of a recipe ends with the one around it, also if that is killed.
WITH_US := setpriv --pdeathsig TERM --
PARALLEL := --numprocesses auto --maxprocesses 8 --maxschedchunk 1

# Without bytecode each process compiles what it imports, which doubles the time of the tests.
export PYTHONDONTWRITEBYTECODE :=

# From the command line or the environment, for run and for the tests:
QEMUS = $(if $(QEMU),--qemu "$(QEMU)") $(if $(QEMU_DST),--qemu-dst "$(QEMU_DST)")

.PHONY: help
help: ## list the commands (the default)
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile | expand -t 18

.PHONY: run
run: $(READY) qemu ## run the main job: [QEMU=path|name] [QEMU_DST=...] [ARGS=...]
	$(BIN)/vfio-multifd run $(QEMUS) $(ARGS)

# First what is not about time, all at once; then the tests that start QEMUs, by themselves.
.PHONY: check
check: ## run lint and all tests: [QEMU=path]
	@status=0; \
	$(WITH_US) $(MAKE) --no-print-directory --jobs=3 --output-sync --keep-going lint check-rig test-unit || status=1; \
	$(WITH_US) $(MAKE) --no-print-directory --jobs=1 test-functional || status=1; \
	exit $$status

.PHONY: lint
lint: $(READY) ## run ruff, mypy and import-linter
	@status=0; set -x; \
	$(BIN)/ruff check || status=1; \
	$(BIN)/ruff format --check || status=1; \
	$(BIN)/mypy || status=1; \
	$(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter || status=1; \
	{ exit $$status; } 2>/dev/null

.PHONY: test
test: $(READY) qemu qemus tools guest ## run the tests that need no rig: [QEMU=path] [ARGS='-k word']
	$(PYTEST) $(PARALLEL) --expect tests/expected $(QEMUS) $(ARGS)

.PHONY: test-unit test-functional
test-unit test-functional: test-%: $(READY) qemu qemus tools guest
	$(PYTEST) $(PARALLEL) tests/$* --expect tests/expected $(QEMUS) $(ARGS)

.PHONY: expected
expected: $(READY) rig qemu qemus tools guest ## run all tests, and write the numbers of skips and known deviations to tests/expected
	$(PYTEST) tests/rig --expect-update $(QEMUS) $(ARGS)
	$(PYTEST) $(PARALLEL) --expect-update $(QEMUS) $(ARGS)

.PHONY: avocado
avocado: $(READY) qemu ## run the functional tests as an avocado job: [QEMU=path] [TESTS=...] [ARGS=...]
	ci/avocado/run.sh $(if $(QEMU),-p "qemu=$(QEMU)") $(if $(QEMU_DST),-p "qemu_dst=$(QEMU_DST)") \
	    $(ARGS) $(or $(TESTS),tests/functional)

.PHONY: matrix
matrix: $(READY) qemu ## run builds x devices x channels as an avocado job: [MATRIX=file.toml] [ARGS=...]
	timeout --foreground --kill-after=120 12h $(BIN)/python -m ci.avocado.matrix $(MATRIX) $(ARGS)

.PHONY: bench
bench: $(READY) qemu ## run the benchmark: [QEMU=path] [ARGS="--json FILE"]
	$(BIN)/python ci/bench.py $(if $(QEMU),--qemu "$(QEMU)") $(ARGS)

.PHONY: coverage
coverage: $(READY) qemu qemus tools guest ## measure which lines of QEMU the functional tests run, by gcov: [VERSIONS="10.2.2"] [ARGS="--main-job"]
	$(ALONE) $(BIN)/python -m ci.coverage $(VERSIONS) $(ARGS)

# If it cannot be built, its tests are skipped with the reason.
.PHONY: guest
guest: $(READY) ## build the guest: Linux, init and firmware
	-@$(ALONE) images/guest/build.sh

.PHONY: rig
rig: $(READY) ## build the virtual machine with the kernel's own VFIO: [MODULES="folder..."]
	@$(ALONE) images/rig/build.sh
	@$(ALONE) images/rig/modules.sh $(MODULES)

.PHONY: check-rig
check-rig: rig qemu qemus guest ## run the tests of the rig, with kernel devices
	$(PYTEST) tests/rig --expect tests/expected $(QEMUS) $(ARGS)

.PHONY: setup
setup: $(READY) qemu ## set up only

.PHONY: clean
clean: ## remove what set-up and the tools made, except runs/
	rm -rf .venv .cache *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

$(READY): pyproject.toml ci/constraints.txt ci/setup.sh
	@ci/setup.sh venv
	@touch $@

# Checked each time (a few hundredths of a second): QEMU may change between two calls.
.PHONY: qemu
qemu:
	@ci/setup.sh qemu

# Builds of two versions, for the tests that migrate between them.
.PHONY: qemus
qemus: qemu
	@ci/setup.sh qemus

.PHONY: tools
tools:
	@ci/setup.sh tools
