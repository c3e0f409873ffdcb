# offramp: `make demo` and `make test` set everything up from a fresh checkout.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(firstword $(foreach v,3.11 3.12 3.13,$(if $(shell command -v python$(v)),python$(v))) python3)
BIN := .venv/bin
# what the tests run for real: tshark as the reference, the servers of the recorded lab, a Kafka broker
JRE := openjdk-17-jre-headless
PACKAGES := tshark tcpdump iproute2 ethtool procps iputils-ping curl nginx-light mosquitto mosquitto-clients \
	dnsmasq-base bind9-dnsutils iperf3 zstd openssl prometheus $(JRE) maven
PROGRAMS := tshark tcpdump ip ethtool sysctl ping curl nginx mosquitto mosquitto_pub dnsmasq dig iperf3 zstd openssl promtool java mvn

POLICY := /usr/sbin/policy-rc.d

help: ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-13s %s\n", $$1, $$2}'

setup: .venv/.kernels ## make the virtual environment with the locked packages, compile the kernels; then .venv/bin/offramp works

# Anew where a file has changed that a kernel may rest on (its key covers all that it imports): on all cores, where the
# first command that needs them would use one. Where nothing is to be compiled it takes half a minute.
.venv/.kernels: .venv/.done $(shell find capture stream inference -name '*.py') $(wildcard offramp/*.py)
	@$(BIN)/offramp kernels || echo "the first commands will compile what they need" >&2
	@touch $@

.venv/.done: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "offramp needs Python 3.11 to 3.13; found $$($(PYTHON) --version). Name one: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }
	@echo "setting up .venv (once; a few minutes, 2.4 GB)" >&2
	@$(PYTHON) -m venv .venv || { echo "python venv is missing: install the package python3-venv, then run make again" >&2; exit 2; }
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q -j 0 .venv/lib >/dev/null || true  # on all cores, where pip would use one
	@touch $@

system: ## install the Debian packages that the tests run for real (needs root), or say what is missing
	@missing=""; for p in $(PROGRAMS); do command -v $$p >/dev/null || [ -x /usr/sbin/$$p ] || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing for the tests:$$missing" >&2; \
	  if [ ! -e $(POLICY) ] && [ ! -L $(POLICY) ]; then \
	    trap 'rm -f $(POLICY)' EXIT; trap 'exit 1' HUP INT TERM; \
	    printf '#!/bin/sh\nexit 101\n' | install -m 755 /dev/stdin $(POLICY); \
	  fi; \
	  apt-get update -qq; jre=$(JRE); \
	  apt-cache show $$jre >/dev/null 2>&1 || jre=default-jre-headless; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(filter-out $(JRE),$(PACKAGES)) $$jre >/dev/null; \
	else echo "tests that need these will be skipped, each with its reason:$$missing (Debian packages: $(PACKAGES))" >&2; fi

lint: setup ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# Three processes on two cores: those of the Kafka tests wait for most of their time. By files, as what a file sets up
# (a model that is trained, a broker) is dear. The demo goes before, as each would else compile the same kernels.
PYTEST := TZ=UTC $(BIN)/python -m pytest -n $${JOBS:-3} --dist loadfile --no-loadscope-reorder
SHORT := -m "not long"
test: setup system lint ## what must hold: lint, types, tests; beside them the kernels' once more, checked
	@checked=$$(mktemp); $(MAKE) --no-print-directory checked >$$checked 2>&1 & beside=$$!; failed=0; \
	trap 'kill $$beside 2>/dev/null || true; rm -f $$checked' EXIT; trap 'exit 130' INT; \
	$(MAKE) --no-print-directory demo >/dev/null && $(PYTEST) $(SHORT) --ignore $(MUTANTS) || failed=$$?; \
	wait $$beside || failed=$$?; \
	echo "the kernels' tests with every array access checked (make checked):"; cat $$checked; exit $$failed

test-all: SHORT := --durations 30
test-all: test ## make test with what is long: many captures, whole trainings, several seeds


# Whatever runs compiled kernels of capture, stream and inference, and needs no broker, interface or tshark; and the
# mutants, two minutes of interpreted kernels, which nothing else has to wait for here.
MUTANTS := tests/test_room_mutants.py
KERNEL_TESTS := tests/fuzz $(addprefix tests/,$(addsuffix .py,\
	$(addprefix capture/,dissect/test_dissector dissect/conversation/test_reassembly dissect/network/test_fragments \
	sources/file/test_files intake/test_shedding) conformance/test_backends \
	$(addprefix inference/,network/test_queue_history serving/kernel/test_activations) \
	$(addprefix stream/bins/test_,bins heavy_hitters packets virtual_queue) \
	$(addprefix stream/datasets/test_,duplicates labelling split trace_queue) \
	stream/local/test_link_batches $(addprefix stream/windows/test_,normaliser stft)))
checked: setup ## the kernels' tests with every array access checked; compiles kernels of its own, once
	@OFFRAMP_BOUNDSCHECK=1 TZ=UTC $(BIN)/python -m pytest -q -p no:cacheprovider $(KERNEL_TESTS) $(MUTANTS)

mutants: setup ## take each room check of the kernels out in turn, and tell which check of the tests finds it out
	@NUMBA_DISABLE_JIT=1 $(BIN)/python -m tests.room_mutants --verbose

soak: setup system ## the Kafka tests at length (half an hour): kills, restarts, overload, bombs, an hour of traffic
	@OFFRAMP_SOAK=1 TZ=UTC $(BIN)/python -m pytest tests/integration --timeout 3000 -v --durations 15

demo: setup ## replay the sample capture: link state, decisions, ledger
	@$(BIN)/offramp replay samples/demo.pcap.zst --site samples/site.toml

kafka: setup ## run Apache Kafka (one node, loopback, temporary data) in the foreground, until Ctrl-C
	@$(BIN)/python -m deploy.kafka

bench: setup ## speeds of every stage beside its peers; the model's backends; through Kafka: rates, costs, time to a decision
	@$(BIN)/python -m bench
	-@$(BIN)/python -m bench.serving
	-@$(BIN)/python -m bench.throughput
	-@$(BIN)/python -m bench.latency

FUZZ_SECONDS ?= 600
fuzz: setup ## dissect mutated packets for FUZZ_SECONDS (600), every access checked; CAPTURES=DIR mutates those too
	@$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(if $(CAPTURES),--captures $(CAPTURES))

dear: setup ## look for inputs that make dissection dear, for FUZZ_SECONDS (600): more than 64 steps a byte ends it
	@$(BIN)/python -m tests.fuzz.costs --seconds $(FUZZ_SECONDS)

fuzz-messages: setup ## mutated Kafka messages and checkpoints for FUZZ_SECONDS, half the time each, every access checked
	@$(BIN)/python -m tests.fuzz.messages --seconds $$(( $(FUZZ_SECONDS) / 2 ))
	@$(BIN)/python -m tests.fuzz.states --seconds 0.1 --keep .venv/fuzz.stock
	@OFFRAMP_BOUNDSCHECK=1 $(BIN)/python -m tests.fuzz.states --stock .venv/fuzz.stock --seconds $$(( $(FUZZ_SECONDS) / 2 )); rm -f .venv/fuzz.stock

# The one with kernels for x86-64-v3 and this Python, the one of Python alone for all others, and the controller's.
wheels: setup ## build the wheels into dist/
	@rm -rf build/kernels; mkdir -p dist
	@$(BIN)/offramp kernels --processor x86-64-v3 --out build/kernels
	@for each in build/kernels ""; do \
	  OFFRAMP_KERNELS=$$each $(BIN)/pip wheel --quiet --no-deps --no-build-isolation -w dist .; done
	@$(BIN)/pip wheel --quiet --no-deps --no-build-isolation -w dist deploy/client

lock: ## resolve requirements.lock anew (needs uv)
	@uv pip compile --universal --python-version 3.11 --extra dev --generate-hashes --no-emit-index-url --no-header \
	  --no-annotate --quiet pyproject.toml -o requirements.lock

clean: ## remove the environment and caches of the checkout
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help setup system lint test test-all checked mutants soak demo kafka bench fuzz dear fuzz-messages wheels lock clean
