# make demo, make test: each sets up .venv by itself and installs nothing the second time.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXTRAS := train,viz,attribution,cluster,harmonise,app,mat,privacy,docs,browser,fuzz,reference,test,benchmark,lint
INSTALLED := $(VENV)/.installed

# Real cohorts for tests and benchmarks; without them those that need one skip and say so.
ifneq ($(wildcard ../shared/data),)
export CONNECTOME_GNN_DATA ?= $(abspath ../shared/data)
endif

DEMO_OUT ?= demo
DEMO_ARGS ?=

# Processes that run the tests; each takes whole files.
JOBS ?= 2

.PHONY: demo test lint examples benchmarks fuzz calibration verify clean

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/connectome-gnn demo --out $(DEMO_OUT) --force $(DEMO_ARGS)

# One thread a process: small matrices shared among more threads than cores take ten times as long.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

examples: $(INSTALLED)
	cd examples && for script in *.py; do echo "== $$script" && ../$(BIN)/python $$script || exit 1; done

benchmarks: $(INSTALLED)
	$(BIN)/python benchmarks/simulated.py --full
	$(BIN)/python benchmarks/real_cohorts.py
	$(BIN)/python benchmarks/topology.py --cohort
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/privacy_price.py
	$(BIN)/python benchmarks/readers.py
	$(BIN)/python benchmarks/ablation.py
	$(BIN)/python benchmarks/samples.py
	$(BIN)/python benchmarks/decomposition.py
	$(BIN)/python benchmarks/attention.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/attribution.py
	$(BIN)/python benchmarks/constrained.py
	$(BIN)/python benchmarks/prediction.py
	$(BIN)/python benchmarks/harmonisation.py
	$(BIN)/python benchmarks/tables.py

fuzz: $(INSTALLED)
	$(BIN)/python benchmarks/fuzz_readers.py

calibration: $(INSTALLED)
	$(BIN)/python benchmarks/calibration.py

verify: benchmarks calibration fuzz

clean:
	rm -rf $(VENV) demo build dist *.egg-info
