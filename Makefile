# Every target is complete on a fresh machine with Python 3.11, a C++ compiler, make and a package registry.

PYTHON := $(or $(CLOUDSEG_VENV),.venv)/bin/python
DEMO   := demo-data

.PHONY: env demo check lint unit test data train cases cluster app long chaos jobs-files costs

env:
	@env/setup.sh

# The whole job, small: data, shards, three stages on 2 Horovod ranks, scores.
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
	@$(PYTHON) -m pytest -q tests/unit

# Two at once: the cluster's tests wait much, the others compute. Each part's output comes when it has ended.
test: env
	@echo "make test: lint, unit, data, train, cases, app beside a Slurm cluster; half an hour on two cores"
	@$(MAKE) --no-print-directory -j2 --output-sync=target --keep-going cluster lint unit data train cases app

data train cases app: env
	@$(PYTHON) -m pytest -q tests/$@

# Each fault alone on a real Slurm cluster.
cluster: env
	@$(PYTHON) -m pytest -q tests/cluster --ignore=tests/cluster/chaos

# Chains to which things happen at random: seeds 1 to SEEDS, or SEEDS=7-9. Minutes each.
SEEDS := 20
chaos: env
	@CLOUDSEG_CHAOS_SEEDS=$(SEEDS) $(PYTHON) -m pytest -q -s tests/cluster/chaos

# What takes too long for every commit.
long: env
	@$(PYTHON) -m pytest -q tests/long

# jobs/ holds what the launcher renders for the default site; a test compares.
jobs-files: env
	@$(PYTHON) -c "import pathlib; from cloudseg.slurm import script, sites; \
	  [pathlib.Path('jobs', name).write_text(text) for name, text in script.handwritten(sites.load('ruche')).items()]"

# What the layers of each network cost, for plans; tests hold the table against the networks. A quarter of an hour, or
# more; with NETWORKS="small unet-vgg16" only these are made anew.
costs: env
	@$(PYTHON) -m cloudseg.nets.count_cost $(NETWORKS)
