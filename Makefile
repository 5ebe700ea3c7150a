# make demo   a whole study on this machine: no account, no internet, under six minutes with the set-up
# make test   lint, types and tests
# make bench  this project against the plain transformers + PEFT loop: ratios of one run
# make prove  the full counts of the fault and speed claims, written to tests/proofs.json
# make gpu    what only a GPU can show, in at most eight minutes; its lines go to tests/gpu.jsonl
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo bench test prove gpu pictures pretrain lock clean

demo: $(INSTALLED)
	$(BIN)/sweep-agent demo

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadgroup

bench: $(INSTALLED)
	$(BIN)/python -m tests.prove speed

prove: $(INSTALLED)
	$(BIN)/python -m tests.prove

gpu: $(INSTALLED)
	$(BIN)/python -m tests.tools.gpu --out tests/gpu.jsonl

# From the newest demo, for the README.
pictures: $(INSTALLED)
	$(BIN)/python -m tests.tools.make_pictures

pretrain: $(INSTALLED)
	$(BIN)/sweep-agent pretrain

# The lock holds every package of a working environment, tests included, at one exact version.
$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

lock: $(INSTALLED)
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

clean:
	rm -rf .venv outputs wandb .mypy_cache .pytest_cache .ruff_cache
