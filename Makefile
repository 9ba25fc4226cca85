# Everything runs in .venv, which the first target that needs it creates.
PYTHON ?= python3
CONSTRAINTS ?= -c constraints.txt
BIN := .venv/bin

.PHONY: env claims smoke test check report bench clean

env: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("benchsuite needs Python 3.11 or later, this is " + sys.version.split()[0] + ": make claims PYTHON=python3.11")'
	@echo "Installing into .venv, which takes a minute or more ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) --editable '.[dev]'
	@touch $@

claims: env  ## decide every finding on the handwritten digits
	$(BIN)/pytest claims

smoke: env  ## run every claim's plumbing with tiny models; decides nothing
	$(BIN)/pytest claims -m smoke

test: env  ## is our code right?
	$(BIN)/pytest tests

check: env  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

report: env  ## render reports/index.html again from saved results; trains nothing
	$(BIN)/python -m benchsuite.report

bench: env  ## time shadow training, its growth, estimates, the bank and the report
	$(BIN)/pytest --benchmark --benchmark-json=reports/benchmark.json; status=$$?; \
	$(BIN)/python -m benchsuite.report && exit $$status

clean:
	rm -rf .venv .banks
