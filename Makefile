# For a fresh machine: `make demo`, `make real`, `make test` and `make docs`. Each sets up .venv by itself.
PYTHON ?= python3
BIN := .venv/bin

# memory that was freed is kept for the next step: asking the kernel for it anew takes longer than the
# small products here
export MALLOC_TRIM_THRESHOLD_ ?= 4000000000
export MALLOC_MMAP_THRESHOLD_ ?= 33554432

.PHONY: demo real test docs mutants

demo: .venv/ready
	$(BIN)/python -m adept_llm.demo

real: .venv/ready
	$(BIN)/pip install -q -c constraints.txt -e '.[real]'
	$(BIN)/python -m adept_llm.demo.real

test: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/pytest -q -n 2 --no-loadscope-reorder

# the site, into site/; a dead link is an error
docs: .venv/ready
	$(BIN)/pip install -q -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# which changes of a room's code no test notices: make mutants ROOM=packing (see the file's head)
mutants: .venv/ready-dev
	$(BIN)/pip install -q mutmut==3.8.1
	$(BIN)/python -m benchmarks.mutants $(ROOM) --children $(or $(CHILDREN),1) --names '$(or $(NAMES),*)'

# torch first and alone: any other order may bring several GB of CUDA packages along
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q torch==2.13.0
	$(BIN)/pip install -q -c constraints.txt -e .
	touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@
