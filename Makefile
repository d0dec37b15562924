# make demo    restores the example photograph with the native engine, no PyTorch involved
# make test    the whole test suite           make lint    formatting and the house rules
# make bench   the benchmarks                 make clean   removes everything made here
#
# Needs python3 (>= 3.10, with venv), make and a C++17 compiler; the rest comes through pip into two virtual
# environments, .venv for users and .venv-dev for developers. Each installs again only after a change.
PYTHON ?= python3
PYTEST_ARGS ?=

core := .venv
dev := .venv-dev
cpp := $(shell find kernels bindings -name '*.cpp' -o -name '*.h')
checked_cpp := $(cpp) $(shell find tests -name '*.cpp' -o -name '*.h') $(shell find examples -name '*.c')
python := $(shell find dipedge kernels export -name '*.py' -o -name 'page.*')
build_files := setup.py pyproject.toml CMakeLists.txt bindings/c/CMakeLists.txt README.md LICENSE

.PHONY: demo test lint bench clean
.DELETE_ON_ERROR:

demo: $(core)/.installed
	$(core)/bin/python examples/demo.py

test: $(dev)/.installed
	$(dev)/bin/python -m pytest --benchmark-skip -n auto --maxprocesses 4 --dist worksteal $(PYTEST_ARGS)

lint: $(dev)/.installed
	$(dev)/bin/ruff check .
	$(dev)/bin/ruff format --check .
	$(dev)/bin/clang-format --dry-run -Werror $(checked_cpp)
	$(dev)/bin/python -m pytest -q tests/test_house_rules.py

bench: $(dev)/.installed
	$(dev)/bin/python -m pytest benchmarks --benchmark-only $(PYTEST_ARGS)

# A real installation from a wheel, as a user has it: what the package forgets is then missing here too.
$(core)/.installed: $(build_files) $(cpp) $(python)
	@echo "installing dipedge into $(core) (compiles the native engine)"
	$(PYTHON) -m venv $(core)
	$(core)/bin/python -m pip install --quiet .
	@touch $@

# Editable, and built with tools that stay, so that a change in one C++ file recompiles one file.
$(dev)/.installed: $(build_files) constraints.txt $(cpp)
	@echo "installing dipedge[dev] into $(dev)"
	$(PYTHON) -m venv $(dev)
	$(dev)/bin/python -m pip install --quiet 'setuptools>=77' 'pybind11>=3.0' 'cmake>=3.25' ninja
	$(dev)/bin/python -m pip install --quiet --no-build-isolation -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf build dist dipedge.egg-info demo_output $(core) $(dev) .pytest_cache .ruff_cache .benchmarks
	rm -f dipedge/_native*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
