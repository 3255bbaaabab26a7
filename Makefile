# All commands of the project. `make demo` and `make test` install what they need into .venv first.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
RUN := runs/demo
LAUNCH := $(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
  --num_cpu_threads_per_process 2
export HF_HUB_OFFLINE ?= 1
export HF_DATASETS_DISABLE_PROGRESS_BARS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help install demo weights test wheel-test lint format app iu bench clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: .venv/installed  ## create .venv with exact versions

# Install torch first and by its exact version: other requests download gigabytes of GPU libraries.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,hospital]'
	touch $@

demo: install  ## prepare synthetic studies, fine-tune with LoRA, evaluate with controls, read a study and a real X-ray
	rm -rf $(RUN)
	$(BIN)/python -m data.prepare synthetic --num-studies 1000 --seed 7 --report-style 1 --split-fractions 0.7 0.1 0.2 \
	  --out $(RUN)/studies
	$(LAUNCH) train/finetune.py --dataset $(RUN)/studies --output-dir $(RUN)/training --init-from cxrscribe-tiny \
	  --feature-cache $(RUN)/features --num-workers 0 --lora-settings.dropout 0 --num-epochs 2 --batch-size 8 \
	  --learning-rate 5e-4
	$(BIN)/python eval/batch.py --checkpoint $(RUN)/training/best --baseline cxrscribe-tiny --dataset $(RUN)/studies \
	  --split test --output-dir $(RUN)/evaluation --neighbor-pool 300
	$(BIN)/python eval/show.py --checkpoint $(RUN)/training/best --dataset $(RUN)/studies --split test \
	  --predictions $(RUN)/evaluation/predictions.jsonl --output $(RUN)/study.png
	$(BIN)/python -m page.report page/static/examples/nih_00020680_000.jpg --format text
	@echo "NIH's labels of this X-ray: Cardiomegaly, Effusion. Compare them with the report."

weights: install  ## train the weights that ship with the project again (hours)
	PATH="$(CURDIR)/$(BIN):$$PATH" sh vlm/weights/tiny.sh runs/tiny

test: install  ## run all tests
	$(BIN)/python -m pytest --numprocesses logical --dist loadfile

wheel-test: install  ## build the wheel, install it into a fresh environment and start its programs there
	PYTHON="$(PYTHON)" .ci/wheel-test

lint: install  ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install  ## fix style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

app: install  ## start the web page with the checkpoint that ships with the project
	$(BIN)/python app.py

iu: install  ## the Indiana benchmark: make iu IU=FOLDER [ENCODER=FOLDER] [NIH=FOLDER]; about an hour
	@test -n "$(IU)" || { echo "name the folder with Open-i's files: make iu IU=FOLDER"; exit 2; }
	$(BIN)/python -m bench.iu --root $(IU) $(if $(ENCODER),--encoder $(ENCODER)) $(if $(NIH),--nih $(NIH)) --work runs/iu \
	  --threads 2
	$(BIN)/python -m eval.report.results

bench: install  ## measure speed as ratios against transformers' VisionEncoderDecoderModel
	$(BIN)/python -m bench.run

clean:  ## remove runs, builds and .venv
	rm -rf runs build .venv
