# Every target works on a fresh machine with Python 3.11, a C++ compiler, make and a package registry.

PYTHON := $(or $(CLOUDSEG_VENV),.venv)/bin/python
DEMO   := demo-data

.PHONY: env demo check lint unit test data train cases cluster app long chaos jobs-files costs

env:
	@env/setup.sh

# A small complete run: generated data, shards, three stages on 2 Horovod ranks, scores.
demo: env
	@$(PYTHON) -m cloudseg.demo --out $(DEMO) --images 120
	@$(PYTHON) -m preprocess --csv $(DEMO)/train.csv --images $(DEMO)/train_images --out $(DEMO)/shards --size 128x192
	@$(PYTHON) -m cloudseg.launch --stages all --cluster local --tasks-per-node 2 --run runs/demo \
	  --data $(DEMO)/shards --set recipe=demo --set network=unet-resnet18 --set weights=none --set batch=4

check: env
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint unit

lint: env
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

unit: env
	@$(PYTHON) -m pytest -q -n 2 tests/unit

# Three parts run at once, on two cores: the cluster tests wait for much of their time. The longest parts begin first. Output
# is printed at the end of each part.
test: env
	@echo "make test: lint, unit, data, train, cases, app and cluster tests; half an hour on two cores"
	@$(MAKE) --no-print-directory -j3 --output-sync=target --keep-going cluster train cases app data lint unit

data train cases app: env
	@$(PYTHON) -m pytest -q tests/$@

# Tests on a Slurm cluster on this machine, with one fault per test, and two chains with random faults (seeds in test_chaos.py).
cluster: env
	@$(PYTHON) -m pytest -q tests/cluster

# Chains with random faults, for seeds 1 to SEEDS, or SEEDS=7-9. A minute or two per seed.
SEEDS := 20
chaos: env
	@CLOUDSEG_CHAOS_SEEDS=$(SEEDS) $(PYTHON) -m pytest -q -s tests/cluster/chaos

# Tests that take too long for every commit.
long: env
	@$(PYTHON) -m pytest -q tests/long

# Renders jobs/ for the default site; a test compares the files.
jobs-files: env
	@$(PYTHON) -c "import pathlib; from cloudseg.slurm import script, sites; \
	  [pathlib.Path('jobs', name).write_text(text) for name, text in script.jobs_files(sites.load('ruche')).items()]"

# Counts the costs of the layers of each network, for plans; tests compare the table with the networks. Takes a quarter
# of an hour or more; NETWORKS="small unet-vgg16" counts only these.
costs: env
	@$(PYTHON) -m cloudseg.nets.count_cost $(NETWORKS)
