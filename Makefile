# make demo | test | lint | soak | assets | bench | bench-faults: each sets up its own virtual environment first, once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# A new stamp name when what is to be installed changes; so a second run installs nothing.
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)

.PHONY: demo test lint soak assets try-assets bench bench-faults setup clean help stamp

help:
	@sed -n 's/^#: //p' Makefile

setup: $(STAMP)

stamp:
	@echo $(STAMP)

$(STAMP):
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "netwright needs Python 3.10 or newer; name one with make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@rm -f $(VENV)/.installed-*
	@touch $(STAMP)

# onnxruntime-web for the stand-alone page, from npm: for a wheel, and for the tests of that page, which skip without it.
ASSETS := src/netwright/shipping/assets/ort-wasm-simd-threaded.wasm.gz

$(ASSETS): src/netwright/shipping/assets/digests.json
	$(PYTHON) tools/assets.py

#: make assets  fetch onnxruntime-web, pinned and checked, for `netwright export --to html`; needs npm
assets: $(ASSETS)

try-assets:
	@$(MAKE) --no-print-directory assets || echo 'Without them the tests of the stand-alone page are skipped.'

#: make demo   train the tutorial network on the embedded digits and write the report
demo: $(STAMP)
	$(BIN)/netwright train examples/tutorial/net.py:Net --data digits --image-size 28

#: make test   run the tests
test: $(STAMP) try-assets
	$(BIN)/python -m pytest -m 'not soak' -n 2 --dist worksteal $(PYTEST_ARGS)

#: make lint   check style and types
lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

#: make soak   the long fault runs
soak: $(STAMP) try-assets
	NETWRIGHT_SOAK_S=3600 NETWRIGHT_FUZZ=1000000 $(BIN)/python -m pytest -m soak $(PYTEST_ARGS)

# The scripts of training speed, and what some are asked for beside --write; gpu says so where there is none.
SPEED := tabular tabular_whole overhead mnist fast_mnist never_worse jpegs speech text lstm scaling cifar gpu
SPEED_ARGS_mnist := --accuracy

#: make bench  start-up, the tutorial network on MNIST, training speed beside rivals; hours. BENCH_ARGS=--quick tries it out
bench: $(STAMP)
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/tutorial_mnist.py
	$(BIN)/python bench/latency.py --write
	$(BIN)/python bench/serving.py --write
	$(MAKE) --keep-going --jobs=1 $(SPEED:%=bench-%)

#: make bench-tabular, bench-overhead …  one script of training speed; it writes bench/results
bench-%: $(STAMP)
	$(BIN)/python bench/speed_rivals.py
	$(BIN)/python bench/$*.py --write $(SPEED_ARGS_$*) $(BENCH_ARGS)

#: make bench-faults  recall and false alarms of the checks, beside three rivals in an environment of their own
bench-faults: $(STAMP)
	$(BIN)/python bench/faults.py $(BENCH_ARGS)
	$(BIN)/python bench/fault_costs.py

clean:
	rm -rf $(VENV) .venv-bench .venv-bench-speed .venv-bench-serving .schemathesis runs .pytest_cache .ruff_cache .mypy_cache
