# Commands for people. `make demo` and `make test` make the environment in .venv themselves.

ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo check test test-current test-pipelines coverage docs lint setup sglang lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: setup ## the whole way on the bundled corpus, on this CPU; ARGS=--fast for a shorter one
	@.venv/bin/tutelage demo $(ARGS)

check: lint ## lint, types, and the tests that start no server, no training and no second process
	@.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -q -m "not slow and not gpu" $(ARGS)

test: setup ## all tests, in two processes; ARGS="-n 0 -k name -x" goes to pytest
	@.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-current: ## the trainer's tests with torch 2.13 and transformers 5, in .venv-current (docs/training.md)
	@.ci/setup-current
	@$(or $(TUTELAGE_CURRENT_VENV),.venv-current)/bin/python -m pytest -n 2 --dist loadfile \
		--no-loadscope-reorder $(CURRENT_TESTS) $(ARGS)

# Tests of torch, transformers, Composer or Streaming, and of libraries that conflict with Beam.
CURRENT_TESTS = tests/plugins/readers/test_huggingface.py tests/pipelines/store/test_dataset_card_loading.py \
	$(addprefix tests/trainer/, test_hf_export.py test_resume.py test_train.py test_two_ranks.py \
	checkpoints/test_checkpoint_files.py checkpoints/test_resume_from.py data/test_batches.py \
	data/test_row_loader.py model/test_boundaries.py model/test_families.py \
	model/test_lora.py reporting/test_loggers.py startup/test_newer_libraries.py evaluation/test_callback.py \
	evaluation/test_evaluator.py)

coverage: setup ## lines that the tests of `make check` do not run, and an HTML report in htmlcov/
	@.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -q -m "not slow and not gpu" \
		--cov --cov-report=term-missing:skip-covered --cov-report=html $(ARGS)

docs: setup ## the documentation in docs/_build, every warning an error
	@.venv/bin/sphinx-build -q -W --keep-going -b html docs docs/_build
	@! grep -rlE '<(script|link|img)[^>]+(src|href)="(https?:)?//' docs/_build --include='*.html' || \
		{ echo "these pages fetch something from elsewhere when they are read" >&2; exit 1; }

test-pipelines: ## the pipelines' tests with tutelage[pipelines,documents] alone, no torch and a newer Beam, in .venv-pipelines
	@.ci/setup-pipelines
	@$(or $(TUTELAGE_PIPELINES_VENV),.venv-pipelines)/bin/python -m pytest -n 2 --dist loadfile \
		--no-loadscope-reorder -rs $(PIPELINES_TESTS) $(ARGS)

# Tests of Beam, its replaced internals, transformers without torch, or a library that Composer holds back.
PIPELINES_TESTS = tests/golden tests/schemas/test_mds.py tests/plugins/filters \
	$(addprefix tests/plugins/readers/, test_parquet.py test_decompression.py test_medline.py) \
	$(addprefix tests/pipelines/, test_without_torch.py increments/test_build.py inspect/test_verify.py \
	planning runners steps store) --ignore=tests/pipelines/runners/remote/test_dataflow.py

lint: setup ## ruff and mypy
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

setup: ## the environment in .venv, as the lock says; nothing when nothing changed
	@.ci/setup

sglang: ## a real SGLang server's environment in .venv-sglang, for tests on a CPU
	@.ci/setup-sglang

lock: ## new locks in .ci/requirements/ from pyproject.toml
	@.ci/lock $(ARGS)

clean: ## caches and build outputs; keeps .venv*, models/ and runs/
	rm -rf build dist docs/_build docs/reference htmlcov .coverage .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find schemas plugins pipelines trainer tests -name __pycache__ -type d -prune -exec rm -rf {} +
