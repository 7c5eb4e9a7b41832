# The interface to this repository. `make help` explains.
SHELL := /bin/bash
SWIFT ?= swift
# Every import must stand in Package.swift: the module graph is the privilege split.
FLAGS := --explicit-target-dependency-import-check error
PROGRAMS := locum locum-node locum-control locum-import locum-zygote locum-eval locum-bench locum-testmodel
PREFIX ?= /usr/local
DESTDIR ?=
VENV := .venv
FUZZ_SECONDS ?= 60
PY := $(VENV)/bin/python

.PHONY: help deps build debug test test-vm demo bench bench-memory fuzz install clean

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

test: debug $(VENV)/.done ## Unit tests, then the whole machine: processes, sandbox, references, openai client
	SWIFT_BACKTRACE=enable=no $(SWIFT) test --skip-build $(FLAGS) --skip '^GatewayTests\.'
	@# The gateway's deadlines are real time, so its suites run without others beside them.
	SWIFT_BACKTRACE=enable=no $(SWIFT) test --skip-build $(FLAGS) --filter '^GatewayTests\.'
	LOCUM_BIN=.build/debug $(PY) -m pytest Tests -q -p no:cacheprovider

test-vm: debug deb $(VENV)/.done ## The package in a virtual machine: install, reboot, power cuts, purge (as root, some minutes)
	Tests/VM/make-image build/vm
	LOCUM_VM=build/vm LOCUM_BIN=.build/debug $(PY) -m pytest Tests/VM -q -p no:cacheprovider

demo: build ## Deploy the embedded model, stream a story, watch the experts come and go (OPEN=1 stays up)
	@OPEN=$(OPEN) Deploy/demo bin

bench: build $(VENV)/.done ## Measure; prints a table and writes bench/out/
	@mkdir -p bench/out
	LOCUM_BIN=bin $(PY) Tests/Benchmarks/bench.py bench/out

bench-memory: build $(VENV)/.done ## A model larger than the memory, beside llama.cpp and the physical bound
	@mkdir -p bench/out
	LOCUM_BIN=bin $(PY) Tests/Benchmarks/memory.py bench/out

fuzz: debug ## Random bytes at the parsers and sockets for a minute (FUZZ_SECONDS=60)
	LOCUM_FUZZ_SECONDS=$(FUZZ_SECONDS) SWIFT_BACKTRACE=enable=no $(SWIFT) test --skip-build $(FLAGS) --filter Fuzz

install: build ## Install below $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/locum $(DESTDIR)$(PREFIX)/share/locum/models
	for p in $(filter-out locum-eval locum-bench locum-testmodel,$(PROGRAMS)); do install -m 755 bin/$$p $(DESTDIR)$(PREFIX)/bin/; done
	cp -r Runtime/Models/tales-moe $(DESTDIR)$(PREFIX)/share/locum/models/

clean: ## Remove what was built
	rm -rf .build bin bench/out $(VENV)
