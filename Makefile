# make help

ARGS ?=
VENV := .venv/bin
PYTHON_CODE := entrypoint tests
CONFIG := entrypoint/pyproject.toml

.PHONY: help demo demo-failover demo-down test test-unit chaos fuzz bench model lint image guests

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## etcd and one VM in containers, from nothing (STORAGE=rbd, GUEST=debian, ENGINE=none, NO_INSTALL=1)
	@tests/demo/demo

demo-failover: ## two hosts, three etcds and a Ceph in containers; the plug is pulled on one of the hosts
	@tests/demo/failover

demo-down: ## remove all that the demo made
	@tests/demo/down

test: lint ## everything, in one container (ARGS=... goes to pytest)
	@tests/setup/installed
	@tests/setup/engine tests/setup/suite $(ARGS)

chaos: ## faults for long, with figures (ARGS="--seed 7 --minutes 60"; a shorter run is part of `make test`)
	@tests/setup/engine tests/setup/suite --dist no --timeout 0 tests/chaos $(if $(ARGS),$(ARGS),--minutes 30)

fuzz: ## a million inputs that nobody would write, and a table (ARGS="--seed 7 --executions 100000 --only yaml")
	@tests/setup/venv
	@PYTHONPATH=entrypoint:tests $(VENV)/python -P -m fuzz $(ARGS)

bench: ## speed, memory and size beside bare QEMU, libvirt and the origin, into docs/benchmarks.md (ARGS="launch disk")
	@tests/setup/engine tests/setup/images bench product
	@tests/setup/engine tests/setup/contained holdfast:bench python3 -m bench $(ARGS)

test-unit: lint ## lint, unit and golden tests, in seconds
	@EXAMPLES_SHARE=4 $(VENV)/pytest -c $(CONFIG) -q -p no:logging --capture=sys tests/unit tests/golden $(ARGS)

model: ## the larger bounds of the protocol's model (spin; long, one core)
	@tests/setup/engine tests/setup/images test
	@tests/setup/engine docker run --rm --volume "$(CURDIR):$(CURDIR)" --workdir "$(CURDIR)" \
		holdfast:test tests/model/check --large

lint: ## ruff, mypy and import-linter (the other linters are tests: tests/lint)
	@tests/setup/venv
	@$(VENV)/ruff check --quiet --config $(CONFIG) $(PYTHON_CODE)
	@$(VENV)/ruff format --quiet --check --config $(CONFIG) $(PYTHON_CODE)
	@MYPYPATH=tests $(VENV)/mypy --config-file $(CONFIG) --no-error-summary $(PYTHON_CODE)
	@said=$$(PYTHONPATH=entrypoint $(VENV)/lint-imports --no-logo --no-cache $(CONFIG)) || { echo "$$said"; exit 1; }

image: ## the image `holdfast`, and its size against the budget
	@tests/setup/engine tests/setup/image

guests: ## the two guests that the tests boot, into the cache
	@tests/guest/busybox
	@tests/guest/debian
