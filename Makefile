# Everything a newcomer needs: `make` lists it. Each target sets up what it uses first; the second time that is instant.
# POSIX sh, GNU make 3.81 or later, as root or an ordinary user, in any directory.

VENV := .venv
PYTHON ?=
CONSTRAINTS ?= constraints.txt
EXTRAS ?=
ARGS ?=

# Two spinning threads on a shared core are slower than one.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
# Files of tests side by side, a core each; for a debugger: ARGS='-n 0 --pdb'.
PYTEST := $(ONE_THREAD) $(VENV)/bin/python -m pytest -n logical --maxprocesses=4 --dist loadfile

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-faults check format setup setup-dev browser clean

help: ## what there is to make
	@echo "make TARGET [VARIABLE=value]"
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' Makefile | \
		while IFS='|' read -r name what; do printf '  %-12s %s\n' "$$name" "$$what"; done
	@echo
	@echo "  ARGS         for the demo or for pytest:  make demo ARGS=--once    make test ARGS='-k history'"
	@echo "  PYTHON       which Python, 3.11 or newer, makes .venv; by default the first one found"
	@echo "  CONSTRAINTS  empty installs without the pins, for a torch of your own:  export CONSTRAINTS=; make demo"
	@echo "  EXTRAS       optional dependencies of pyproject.toml to install as well, with commas between"

demo: setup ## the whole system on real data, then a served page; ARGS=--once ends after printing
	$(VENV)/bin/headwater demo $(ARGS)

test: setup-dev $(VENV)/browser-tried ## every test but the slow fault tests
	$(PYTEST) -m "not slow_fault" $(ARGS)

test-faults: setup-dev ## the slow fault tests: kill -9, restarts, takeovers
	$(PYTEST) -m slow_fault $(ARGS)

check: setup-dev $(VENV)/browser-tried ## what must pass before a commit: format, lint, types, architecture, tests
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(PYTEST) -n 0 -q tests/test_architecture.py
	$(PYTEST) -m "not slow_fault" $(ARGS)

format: setup-dev ## format the code and repair what ruff can
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

setup: ## .venv with what running takes
	@sh -euc "$$INSTALL" install "$(EXTRAS)"

setup-dev: ## .venv with what working on it takes as well
	@sh -euc "$$INSTALL" install "$(EXTRAS)" dev

browser: setup-dev ## try again to install Chromium, which the console's tests drive
	@rm -f $(VENV)/browser-tried
	@$(MAKE) --no-print-directory $(VENV)/browser-tried

clean: ## remove .venv and caches; .headwater, where the data is, stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.headwater/*' -prune -exec rm -rf {} +

# Once: without a browser the tests that need one skip, saying why.
$(VENV)/browser-tried:
	@sh -uc "$$BROWSER"
	@touch $@

define BROWSER
if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then exit; fi
if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then exit; fi
echo "Installing Chromium and its driver for the console's tests"
export DEBIAN_FRONTEND=noninteractive
apt-get update && apt-get install -y --no-install-recommends chromium chromium-driver && exit
echo "Chromium could not be installed: the console's tests will skip. To try again: make browser"
endef
export BROWSER

# $1 and $2 are extras. The stamp says what was installed, from what, and where: a change of any, or a checkout that
# was moved, installs again. An environment to work in serves to run in, too.
define INSTALL
stamp() {
    cat pyproject.toml $(CONSTRAINTS) | cksum
    echo "$$(pwd), pinned by: $(CONSTRAINTS), extras: $$1"
}
installed() {
    [ -f $(VENV)/installed ] && [ "$$(cat $(VENV)/installed)" = "$$(stamp "$$1")" ]
}
works() {  # a pyenv shim may not run, and Debian packages the means to make environments apart
    "$$1" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}
find_python() {
    for candidate in $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3); do
        if works "$$candidate"; then python=$$candidate; return; fi
    done
    return 1
}

extras=$$1$${2:+$${1:+,}$$2}
if installed "$$extras" || installed "$${1:+$$1,}dev"; then exit; fi

if ! find_python && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Found no Python 3.11 or newer that can make environments: installing python3-venv"
    apt-get update && apt-get install -y --no-install-recommends python3-venv || true
fi
if ! find_python; then
    echo "Headwater needs Python 3.11 or newer with its venv module, and none was found. Install it" >&2
    echo "(Debian, Ubuntu: apt-get install python3-venv), or name it: make demo PYTHON=/path/to/python3.12" >&2
    exit 1
fi
echo "Setting up $(VENV) with $$("$$python" -V): a few minutes and some 2 GB of disk, this once"
rm -f $(VENV)/installed
if ! $(VENV)/bin/python -m pip --version >/dev/null 2>&1; then "$$python" -m venv --clear $(VENV); fi
$(VENV)/bin/python -m pip install $(if $(CONSTRAINTS),-c "$(CONSTRAINTS)") -e ".$${extras:+[$$extras]}"
stamp "$$extras" > $(VENV)/installed
endef
export INSTALL
