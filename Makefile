# Two commands do everything: `make serve` and `make test`.
# On Debian they need: apt-get install make python3 python3-venv

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := .ci/requirements.lock
SERVE_LOCK := .ci/serve.lock
PYTEST_OPTIONS ?=
PORT ?= 6543
QUICK := not servers and not slow
# Without this plugin, pytest does not collect all garbage five times at the end of each process.
QUICKER := -p no:unraisableexception
BENCHMARKS := benchmarks/.venv
# Tests start hundreds of processes. Each would compile all that it imports if none wrote bytecode.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: serve test quick pythons lowest lint format messages docs screenshots bench instructions instructions-write lock dist clean

serve: $(VENV)/serving  ## run the site with the embedded issuer: http://localhost:6543, or PORT=8080
	$(BIN)/pserve -q --reload --reload-interval 2 development.ini listen=localhost:$(PORT)

test: lint  ## lint, and all tests
	$(BIN)/pytest -n 4 --dist worksteal $(PYTEST_OPTIONS)

quick: $(VENV)/installed  ## the fast tests, which need no servers and browsers: under a minute
	$(BIN)/pytest -q -n 4 --dist worksteal -m "$(QUICK)" --hypothesis-profile quick $(QUICKER) $(PYTEST_OPTIONS)

pythons:  ## the tests without servers, with each Python version of setup.py that this machine has
	.ci/pythons

lowest: $(VENV)/installed  ## the tests without servers, with the lowest versions that setup.py allows
	$(PYTHON) -m venv .venv-lowest
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
	$(BIN)/uv pip install -q --python .venv-lowest/bin/python --resolution lowest-direct -e '.[redis,testing,development,cli,opentelemetry]'
	.venv-lowest/bin/pytest -q -n 4 --dist worksteal -m "not servers" --hypothesis-profile quick $(PYTEST_OPTIONS)

lint: $(VENV)/installed  ## style, security rules and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed  ## format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

messages: $(VENV)/installed  ## add new sentences to the translations (*.po), and compile them
	$(BIN)/pybabel -q extract -F authapp/locale/babel.cfg -k gettext -k _ --no-location \
	  --project authapp --omit-header -o authapp/locale/authapp.pot authapp
	$(BIN)/pybabel -q update -D authapp -d authapp/locale -i authapp/locale/authapp.pot \
	  --no-fuzzy-matching
	$(BIN)/pybabel compile -D authapp -d authapp/locale

docs: $(VENV)/installed  ## build the documentation in build/docs; a broken link is an error
	$(BIN)/python -m sphinx -q -E -W --keep-going -b html -d build/doctrees docs build/docs

screenshots: $(VENV)/installed  ## pictures of every page, wide and narrow, light and dark
	PYTHONPATH=tests $(BIN)/python -m browser.screenshots build/screenshots
	cp build/screenshots/account-desktop-light.png docs/account.png
	cp build/screenshots/login-refused-phone-dark.png docs/sign-in.png

instructions: $(VENV)/installed  ## fail if a request takes 3 % more processor instructions than before
	PYTHONPATH=tests $(BIN)/python -m benchmarks.instructions

instructions-write: $(VENV)/installed  ## measure the numbers with which `make instructions` compares
	PYTHONPATH=tests $(BIN)/python -m benchmarks.instructions --write

bench: $(BENCHMARKS)/installed  ## compare authapp with other packages; write benchmarks/RESULTS.md
	PYTHONPATH=tests $(BENCHMARKS)/bin/python -m benchmarks

lock: $(VENV)/installed  ## write the newest versions of all dependencies into the lock files
	$(BIN)/pip install -q uv
	$(BIN)/uv pip compile -q --universal --python-version 3.10 --generate-hashes --upgrade \
	  --no-annotate --no-header --all-extras setup.py -o $(LOCK)
	$(BIN)/uv pip compile -q --universal --python-version 3.10 --generate-hashes --no-annotate \
	  --no-header --extra redis --extra cli --extra development -c $(LOCK) setup.py -o $(SERVE_LOCK)

# The lock files name all packages, so pip must not look for further ones: --no-deps.
$(VENV)/serving: setup.py $(SERVE_LOCK)  # install what the site needs
	$(PYTHON) -m venv $(VENV) || { echo "Python cannot make a venv: apt-get install python3-venv"; exit 1; }
	@echo "Installing what the site needs into $(VENV)"
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps --no-compile -r $(SERVE_LOCK)
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/installed: $(VENV)/serving $(LOCK)  # also install what the tests need
	@echo "Installing what the tests need into $(VENV)"
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r $(LOCK)
	touch $@

# `make bench` compares authapp with other packages. These packages have their own environment, and
# also need node, npm, wrk and redis-server.
$(BENCHMARKS)/installed: setup.py $(LOCK) benchmarks/peers.txt benchmarks/package-lock.json
	$(PYTHON) -m venv $(BENCHMARKS)
	$(BENCHMARKS)/bin/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r $(LOCK)
	$(BENCHMARKS)/bin/python -m pip install -q --disable-pip-version-check --no-deps -r benchmarks/peers.txt -e .
	npm ci --prefix benchmarks --legacy-peer-deps --ignore-scripts --no-audit --no-fund
	touch $@

dist: $(VENV)/installed  ## build the sdist, the wheel and the SBOM in dist/, reproducibly
	rm -rf dist
	$(BIN)/python .ci/release.py dist
	$(PYTHON) -m venv build/twine
	build/twine/bin/python -m pip install -q --disable-pip-version-check twine
	build/twine/bin/python -m twine check --strict dist/*.whl dist/*.tar.gz

clean:  ## delete everything that the other commands have made
	rm -rf $(VENV) .venv-* $(BENCHMARKS) build dist *.egg-info .coverage* .pytest_cache .mypy_cache \
	  .ruff_cache .hypothesis benchmarks/node_modules tests/nextjs/node_modules tests/nextjs/build tests/oidc/node_modules \
	  tests/browser/node/node_modules
