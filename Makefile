# make lab      set up and open the lab in JupyterLab
# make demo     set up and make one clip for each action, and a contact sheet
# make test     set up and run every notebook and every test
# make setup    only set up (.venv); the others do it by themselves
# make docs     build the site, offline, into build/docs/html; LINKS=1 asks the web whether links to it still work
# make readme   write README.md from nbs/index.ipynb
# make pictures take the pictures of the panel and of a study that README and site show
# make figures  measure what the model card says, and write it
# make tables   measure what the extensions do, and write it into its notebook (half an hour)
# make study    measure which extension did what, and write it into its notebook (some minutes)
# make weights  fetch the training data and train from nothing, with a fixed seed (SEED=0)
# make package  build the wheel and the source package into dist/
# make clean    remove .venv and everything that was built; data and clips stay
#
# Another Python: make setup PYTHON=/path/to/python3.12

SHELL := bash
.SHELLFLAGS := -o pipefail -c

PYTHON ?=
BIN := .venv/bin
STAMP := .venv/.complete

export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport IN_TEST PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

.PHONY: help setup lab demo test docs readme pictures figures tables study weights package clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \{0,1\}//p; /^$$/q' Makefile

setup: $(STAMP)

# The stamp is written last: what was interrupted is not taken for whole. pyproject.toml outdates it.
$(STAMP): pyproject.toml | $(BIN)/python
	@rm -rf i2v_lab.egg-info # left by a build: Python would read the entry points of then
	$(BIN)/python -m pip install --editable '.[dev,train]' | { grep -v '^Requirement already satisfied' || true; }
	@touch $@
	@echo "set up; for the commands of the lab in this shell: source .venv/bin/activate"

$(BIN)/python:
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14 python; do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "using $$($$python --version) ($$python)"; exec $$python -m venv .venv; \
	  fi; \
	done; \
	echo "error: no Python 3.11 or newer with venv and pip was found; install one (on Debian or Ubuntu: apt install python3 python3-venv) or name it: make setup PYTHON=/path/to/python3" >&2; exit 1

lab: setup
	@$(BIN)/i2v-lab lab

demo: setup
	@$(BIN)/i2v-lab demo

WORKERS ?= 2
# Long, and in no hurry: they take what all others leave of the machine, with the lowest priority.
BESIDE := $(addprefix tests/test_,conformance.py compatibility.py backends.py docs.py forecast.py)
# One thread each: the notebooks run side by side, and so do the tests, in WORKERS processes. All tests are run, also when
# some fail, if the notebooks do not. Offline: nothing may be downloaded. The panel is tried in Chromium, which is looked
# for, and installed where that can be done; I2V_LAB_NO_BROWSER=1 leaves that part out.
test: export OMP_NUM_THREADS := 1
test: export HF_HUB_OFFLINE := 1
test: setup
	@[ "$$I2V_LAB_NO_BROWSER" = 1 ] && [ -z "$$CI" ] || $(BIN)/python tests/tools/browser.py
	@$(BIN)/nbdev-test
	@mkdir -p build; nice -n 19 $(BIN)/python -m pytest $(BESIDE) >build/beside.txt 2>&1 & beside=$$!; \
	  trap 'kill $$beside 2>/dev/null; exit 130' INT TERM; failed=0; \
	  $(BIN)/python -m pytest tests/browser || failed=1; \
	  $(BIN)/python -m pytest --ignore=tests/browser $(addprefix --ignore=,$(BESIDE)) -n $(WORKERS) --dist loadfile || failed=1; \
	  wait $$beside || failed=1; cat build/beside.txt; exit $$failed

LINKS ?=
docs: setup
	@echo "building the site, some minutes"
	@$(BIN)/python docs/build.py $(if $(LINKS),--external)
	@echo "build/docs/html/index.html"

readme: setup
	@$(BIN)/python tests/tools/readme.py

pictures: setup
	$(BIN)/python tests/tools/pictures.py

figures: setup
	$(BIN)/python tests/bench/figures.py
	$(BIN)/python tests/bench/fill.py
	$(BIN)/python tests/bench/speed.py
	$(BIN)/python tests/bench/card.py

study: setup
	TQDM_DISABLE=1 TORCH_CPP_LOG_LEVEL=ERROR $(BIN)/jupyter execute --inplace nbs/tutorials/20_study.ipynb
	$(BIN)/nbdev-clean

tables: setup
	TQDM_DISABLE=1 TORCH_CPP_LOG_LEVEL=ERROR $(BIN)/jupyter execute --inplace nbs/tutorials/10_extensions_measured.ipynb
	$(BIN)/nbdev-clean

SEED ?= 0
weights: setup
	$(BIN)/i2v-lab data fetch
	OMP_NUM_THREADS=1 $(BIN)/i2v-lab train --seed $(SEED) --out data/runs/motiondit-$(SEED).safetensors

package: setup
	@echo "building the sdist and the wheel, about two minutes"
	@$(BIN)/python -m build --quiet
	@for wheel in dist/*.whl; do echo "$$wheel: in any environment, pip install $$wheel, or '$$wheel[lab]' for the panel"; done

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache tests/browser/artefacts
	find i2v_lab nbs tests -name __pycache__ -prune -exec rm -rf {} +
	find nbs -name .ipynb_checkpoints -prune -exec rm -rf {} +
