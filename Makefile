# What a person types. `make demo` and `make test` make the environment in .venv themselves.

ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-current test-pipelines lint setup sglang lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: setup ## the whole way on the bundled corpus, on this CPU; ARGS=--fast for a shorter one
	@.venv/bin/tutelage demo $(ARGS)

test: setup ## all tests, in two processes; ARGS="-n 0 -k name -x" goes to pytest
	@.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-current: ## the trainer's tests with torch 2.13 and transformers 5, in .venv-current (docs/training.md)
	@.ci/setup-current
	@$(or $(TUTELAGE_CURRENT_VENV),.venv-current)/bin/python -m pytest -n 2 --dist loadfile \
		--no-loadscope-reorder $(CURRENT_TESTS) $(ARGS)

# What touches torch, transformers, Composer or Streaming, and what needs a library that does not fit beside Beam.
CURRENT_TESTS = tests/plugins/readers/test_huggingface.py tests/pipelines/store/test_loading_examples.py \
	$(addprefix tests/trainer/, test_hf_export.py test_resume.py test_train.py test_two_ranks.py \
	checkpoints/test_checkpoint_files.py data/test_row_loader.py model/test_boundaries.py model/test_families.py \
	model/test_lora.py reporting/test_loggers.py startup/test_newer_libraries.py evaluation/test_callback.py \
	evaluation/test_evaluator.py)

test-pipelines: ## the pipelines' tests with tutelage[pipelines] alone, no torch and a newer Beam, in .venv-pipelines
	@.ci/setup-pipelines
	@$(or $(TUTELAGE_PIPELINES_VENV),.venv-pipelines)/bin/python -m pytest -n 2 --dist loadfile \
		--no-loadscope-reorder -m "not slow" -rs $(PIPELINES_TESTS) $(ARGS)

# What touches Beam, its replaced internals, transformers without torch, or a library that Composer keeps old.
PIPELINES_TESTS = tests/golden tests/schemas/test_mds.py tests/plugins/filters \
	$(addprefix tests/plugins/readers/, test_parquet.py test_readers.py test_medline.py) \
	$(addprefix tests/pipelines/, test_without_torch.py increments/test_build.py inspect/test_verify.py \
	planning runners steps store)

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
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find schemas plugins pipelines trainer tests -name __pycache__ -type d -prune -exec rm -rf {} +
