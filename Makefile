# The front door. `make demo` and `make test` install what they need into .venv first.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
RUN := runs/demo
BASE := vlm/weights/tiny-base
LAUNCH := $(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
  --num_cpu_threads_per_process 2
GENTLE := --augmentation.max-rotation 7 --augmentation.max-shift 0.05 --augmentation.max-zoom 0.05 --augmentation.max-shear 5
export HF_HUB_OFFLINE ?= 1
export HF_DATASETS_DISABLE_PROGRESS_BARS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help install demo weights test lint format app bench clean

help:  ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: .venv/installed  ## make .venv with exact versions

# torch comes first and by its exact version: other requests fetch builds with gigabytes of GPU libraries.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install  ## synthetic studies of one department, LoRA from the base that ships, judged beside it, one study shown
	rm -rf $(RUN)
	$(BIN)/python -m data.prepare synthetic --num-studies 3000 --seed 7 --report-style 1 --out $(RUN)/studies
	$(LAUNCH) train/finetune.py --dataset $(RUN)/studies --output-dir $(RUN)/training $(GENTLE) --num-workers 0 \
	  --init-from $(BASE) --lora-settings.dropout 0 --num-epochs 2 --batch-size 8 --learning-rate 5e-4 \
	  --num-validation-reports 100
	$(BIN)/python eval/batch.py --checkpoint $(RUN)/training/best --baseline $(BASE) --dataset $(RUN)/studies --split test \
	  --output-dir $(RUN)/evaluation --neighbour-pool 1500
	$(BIN)/python eval/show.py --checkpoint $(RUN)/training/best --dataset $(RUN)/studies --split test \
	  --predictions $(RUN)/evaluation/predictions.jsonl --output $(RUN)/study.png

weights: install  ## makes the weights that ship with the project again, and every figure told of them: hours
	PATH="$(CURDIR)/$(BIN):$$PATH" sh vlm/weights/tiny.sh runs/tiny

test: install  ## all tests
	$(BIN)/python -m pytest --numprocesses logical --dist loadfile

lint: install  ## style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install  ## mend style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

app: install  ## the web page, on the checkpoint that ships with the project
	$(BIN)/python app.py

bench: install  ## speed, as ratios against transformers' VisionEncoderDecoderModel
	$(BIN)/python -m bench.run

clean:  ## remove runs and .venv
	rm -rf runs .venv
