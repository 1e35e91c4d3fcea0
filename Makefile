# SPDX-License-Identifier: Apache-2.0
#
# A thin front for Meson, so that a clone and one command are enough on a bare Debian 12. Everything that is
# really built or tested is described in the meson.build files; docs/development.md tells the rest.

BUILD ?= build
MESON_OPTS ?=
PREFIX ?= /usr/local

# Warnings are errors where nobody watches the screen.
ifeq ($(CI),true)
MESON_OPTS += -Dwerror=true
endif

# `sudo make run` in a user's clone must not leave a build folder that he cannot rebuild: root compiles as
# the owner of the tree.
OWNER := $(shell stat -c %U . 2>/dev/null)
ifeq ($(shell id -u),0)
ROOT := yes
ifneq ($(filter-out root UNKNOWN,$(OWNER)),)
AS_OWNER := runuser -u $(OWNER) --
endif
endif

# Root installs what is missing, anybody else is told.
DEPS := tools/deps.sh $(if $(ROOT),install,check)
RUNNER := python3 tests/harness/run.py --build $(BUILD) $(if $(AS_OWNER),--owner $(OWNER))

.DEFAULT_GOAL := build
.PHONY: help build setup deps deps-build deps-test deps-bench run test test-long test-vm bench bench-compare fuzz lint \
	fmt install deb clean

help:
	@echo 'make            build weir into $(BUILD)/ (build/weir)'
	@echo 'make deps       install the Debian packages that building and testing need (root)'
	@echo 'make run        install what is missing, build, watch this machine: sudo make run'
	@echo 'make test       build and run the tests; root runs all of them, ends with N passed, N failed, N skipped'
	@echo 'make test-long  the same with full counts (hours)'
	@echo 'make test-vm    load every BPF program and run the suites bpf and e2e on the kernels of the matrix, in qemu'
	@echo 'make bench      measure weir beside its peers: a table, and $(BUILD)/bench.json (root; under 5 minutes)'
	@echo 'make bench-compare OLD=a.json NEW=b.json   what became slower between two runs'
	@echo 'make fuzz       fuzz every parser: SECONDS=60 each, only those that match TARGET'
	@echo 'make lint       clang-tidy, shellcheck and the checks of tests/check'
	@echo 'make fmt        format the C files that differ from the last commit (ALL=1: all)'
	@echo 'make install    install into PREFIX=$(PREFIX) (DESTDIR is honoured)'
	@echo 'make deb        a Debian package, in $(BUILD)/deb'
	@echo 'make clean      remove the build folders'
	@echo
	@echo 'YES=1 answers the question before packages are installed; MESON_OPTS goes to meson setup.'

deps:
	@$(DEPS) build test deb

deps-build:
	@$(DEPS) build

# Tests whose tools are missing are skipped by name, so only root installs here and nobody is stopped.
deps-test: deps-build
	@$(DEPS) build test deb $(if $(ROOT),,|| echo 'Tests that need them are skipped.')

deps-bench: deps-build
	@$(DEPS) build bench $(if $(ROOT),,|| echo 'Peers that are missing are not measured.')

# A room that is new to the tree is not known to the configured build folder.
$(BUILD)/build.ninja: $(wildcard meson.build */meson.build */*/meson.build)
	@$(AS_OWNER) meson setup $(if $(wildcard $@),--reconfigure) $(BUILD) --prefix $(PREFIX) $(MESON_OPTS)
	@$(AS_OWNER) touch $@

setup: deps-build
	@$(MAKE) --no-print-directory $(BUILD)/build.ninja

build: setup
	@$(AS_OWNER) ninja -C $(BUILD)

run: build
ifdef ROOT
	@exec $(BUILD)/weir run $(ARGS)
else
	@echo 'weir watches the whole machine and needs root. run: sudo make run' >&2; exit 1
endif

test-long: KIND = --long
test-vm: KIND = --vm
test test-long test-vm: deps-test build
	@$(RUNNER) $(KIND) $(ARGS)

bench: deps-bench build
	@$(RUNNER) --bench $(ARGS)

bench-compare:
	@python3 bench/compare.py $(OLD) $(NEW)

SECONDS ?= 60
fuzz: deps-test build
	@$(RUNNER) --fuzz $(SECONDS) $(TARGET)

lint: build
	@tools/lint.sh $(BUILD)

fmt:
	@tools/fmt.sh $(if $(ALL),--all)

# What was configured for another prefix has its paths in the unit.
install: build
	@grep -q '"prefix", "value": "$(PREFIX)"' $(BUILD)/meson-info/intro-buildoptions.json || \
	{ $(AS_OWNER) meson configure $(BUILD) --prefix $(PREFIX) && $(AS_OWNER) ninja -C $(BUILD); }
	@meson install -C $(BUILD) --no-rebuild $(if $(DESTDIR),--destdir $(DESTDIR))

deb: deps-build
	@$(DEPS) deb
	@$(MAKE) --no-print-directory build
	@$(AS_OWNER) packaging/deb/build.sh $(BUILD) $(BUILD)/deb

clean:
	rm -rf $(BUILD) $(BUILD)-san $(BUILD)-fuzz
