# Targets create .venv and install what they need.
PYTHON ?= python3
VENV ?= .venv
SWEEP ?= $(if $(RAY_ADDRESS),paper,quickstart)
STORAGE ?= results
TRACKING_URI ?= sqlite:///mlflow.db
UI_PORT ?= 5000
WORKERS ?= 4

WHY := $(if $(RAY_ADDRESS),on a cluster: RAY_ADDRESS is $(RAY_ADDRESS),without a RAY_ADDRESS)
BIN := $(VENV)/bin
SETUP := $(VENV)/.setup
DEVELOP := $(VENV)/.develop
CLUSTERED := $(VENV)/.clustered
BENCHED := $(VENV)/.benched
DOCUMENTED := $(VENV)/.documented
.DEFAULT_GOAL := help
.PHONY: help setup sweep ui report test test-slow chaos test-cluster cluster-secrets check docs bench clean

help:  ## lists the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 17
	@echo "variables: SWEEP=$(SWEEP) STORAGE=$(STORAGE) TRACKING_URI=$(TRACKING_URI) UI_PORT=$(UI_PORT) PYTHON=$(PYTHON)"

setup: $(SETUP)  ## creates .venv and installs what a sweep needs, with the versions in requirements.lock

sweep: $(SETUP)  ## runs SWEEP (a file, or a name in sweeps/); repeat it to compute what is missing
	@echo "sweep: $(SWEEP)$(if $(filter file,$(origin SWEEP)), (the default $(WHY); to run another: make sweep SWEEP=...))"
	@$(BIN)/hessian-dynamics run $(SWEEP) --storage $(STORAGE) --tracking-uri $(TRACKING_URI)

ui: $(SETUP)  ## serves the curves in MLflow on 127.0.0.1, port UI_PORT
	$(BIN)/mlflow ui --backend-store-uri $(TRACKING_URI) --host 127.0.0.1 --port $(UI_PORT)

report: $(SETUP)  ## writes report.html, figures and tables of SWEEP; BY=optimizer.lr groups the trials by learning rate
	@$(BIN)/hessian-dynamics report $(SWEEP) --storage $(STORAGE) --tracking-uri $(TRACKING_URI) $(if $(BY),--by $(BY))

test: $(DEVELOP)  ## runs the tests, about five minutes on two cores; COVERAGE=1 reports the coverage
	$(BIN)/pytest -n $(WORKERS) --dist worksteal $(if $(COVERAGE),--cov --cov-report=term:skip-covered) $(PYTEST)

test-slow: $(DEVELOP)  ## runs the slow tests: storms, full disks, kills through Ray, whole benchmarks
	$(BIN)/pytest -n 2 --dist worksteal -m slow $(PYTEST)

chaos: $(DEVELOP)  ## injects random faults into sweeps for a quarter of an hour; SEED=N draws other faults, STORM=NAME runs one
	@$(BIN)/python -m tests.chaos --seed $(or $(SEED),0) $(if $(STORM),--only $(STORM))

test-cluster: $(CLUSTERED)  ## runs and breaks the services of docker/compose.yaml without a container engine; needs root
	$(BIN)/pytest -m cluster tests/cluster -rs --capture=no --durations=0

cluster-secrets:  ## creates the secrets of docker/compose.yaml that are missing
	@docker/secrets.sh

check: $(DEVELOP)  ## ruff, mypy and import-linter; checks the sweep files against their schema
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --schemafile sweeps/schema.json sweeps/*.yaml

docs: $(DOCUMENTED)  ## builds the documentation strictly into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(BENCHED)  ## runs the benchmarks; BENCH=NAME runs one, DATA=FOLDER uses its images, QUICK=1 only checks that they run
	@$(BIN)/python -m benchmarks $(BENCH) $(if $(DATA),--data $(DATA)) $(if $(QUICK),--quick)

clean:  ## removes the caches of tools; keeps .venv, results and the tracker's database
	rm -rf site .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# One environment; each file in it marks that these extras are installed.
$(SETUP): EXTRAS := sweep
$(DEVELOP): EXTRAS := sweep,test,check
$(CLUSTERED): EXTRAS := sweep,test,cluster
$(BENCHED): EXTRAS := sweep,bench
$(DOCUMENTED): EXTRAS := sweep,docs
$(SETUP) $(DEVELOP) $(CLUSTERED) $(BENCHED) $(DOCUMENTED): pyproject.toml requirements.lock | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[$(EXTRAS)]'
	@touch $@ $(SETUP)
