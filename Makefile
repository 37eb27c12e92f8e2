# make run | make test | make test-train: each does all of its own set-up.
PYTHON   ?= python3
VENV     := .venv
BIN      := $(VENV)/bin
SOURCE   ?=
DURATION ?=
FRAMES   ?=
GPU_PYTHON ?= $(PYTHON)
EXTRAS   := ros,bench,test

.PHONY: help setup run test test-train rtx gpu-check lint bench clean

help:
	@echo "make run [SOURCE=video|folder|bag|/dev/videoN] [DURATION=seconds]   the node on real footage, results in out/"
	@echo "make test         every test but training's"
	@echo "make test-train   training's tests (installs torch)"
	@echo "make gpu-check [FRAMES=folder] [GPU_PYTHON=python3]   what only a machine with an NVIDIA GPU can prove"
	@echo "make bench        what each stage of a frame costs"
	@echo "make clean        remove the virtual environment and out/"

setup: $(VENV)/.ready

$(VENV)/.ready: setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info[:2] <= (3, 13) else "drive_seg needs Python 3.10 to 3.13, this is " + sys.version.split()[0] + ": make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (the first time takes a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]'
	@touch $@

run: setup
	@$(BIN)/drive-seg demo $(if $(SOURCE),--source '$(SOURCE)') $(if $(DURATION),--duration $(DURATION)) --out out

test: setup rtx
	@$(BIN)/ruff check .
	@$(BIN)/python -m pytest -m 'not train'

# TensorRT for RTX builds plans on machines without a GPU, so the tests build them for real. It is large (95 MB), and
# there is none but for x86-64 Linux: without it those tests skip and say why.
rtx: setup
	@test -e $(VENV)/.ready-rtx || { echo "installing TensorRT for RTX, to build plans in the tests"; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[rtx]' && touch $(VENV)/.ready-rtx; } || \
	  echo "TensorRT for RTX can't be installed here: the tests that build plans are skipped"

$(VENV)/.ready-train: $(VENV)/.ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train]'
	@touch $@

test-train: $(VENV)/.ready-train
	@$(BIN)/python -m pytest -m train test/training

bench: setup
	@$(BIN)/drive-seg bench

# With the system's Python: on a Jetson TensorRT is there, and nowhere else. Needs pycuda, nvcc, numpy, OpenCV, numba,
# PyYAML, onnx and OpenVINO or ONNX Runtime; says what is missing.
gpu-check:
	@PYTHONPATH=. $(GPU_PYTHON) -m drive_seg.gpu_check $(if $(FRAMES),--frames '$(FRAMES)') --out out/gpu_check

lint: setup
	@$(BIN)/ruff check .

clean:
	rm -rf $(VENV) out build install log
