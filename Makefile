# make run | make check | make test: each does all of its own set-up.
PYTHON   ?= python3
VENV     := .venv
BIN      := $(VENV)/bin
SOURCE   ?=
TOPIC    ?=
DURATION ?=
RATE     ?=
FRAMES   ?=
GPU_PYTHON ?=
MESSAGES ?= 10000
ONLY     ?=
# What the user gives is text, also with quotes, $ and `: recipes read it from their environment, and make must not
# expand it on the way there.
override SOURCE := $(value SOURCE)
override TOPIC := $(value TOPIC)
override DURATION := $(value DURATION)
override RATE := $(value RATE)
override FRAMES := $(value FRAMES)
override GPU_PYTHON := $(value GPU_PYTHON)
override MESSAGES := $(value MESSAGES)
override ONLY := $(value ONLY)
export SOURCE TOPIC DURATION RATE FRAMES GPU_PYTHON MESSAGES ONLY
# Many containers set it. Then every process compiles every module again, and pytest every test: a minute of `make check`.
unexport PYTHONDONTWRITEBYTECODE
GPU_VENV := .venv-gpu
EXTRAS   := ros,bench,test
JAZZY_VENV := .venv-jazzy
PYTEST   := $(BIN)/python -m pytest
# More than cores: tests of nodes and processes mostly wait.
WORKERS  ?= 3
PARALLEL := -n $(WORKERS)

.PHONY: help setup run check test compiled slow-tests torture test-train test-colcon test-pycuda test-jazzy rtx gpu-tools cubins gpu-check lint bench docs picture clean

help:
	@echo "make run [SOURCE=video|folder|bag|/dev/videoN|views] [TOPIC=of a bag] [DURATION=seconds, 20 if not given] [RATE=of a bag]   the node on real footage, results in out/"
	@echo "make check        lint, types and every test under half a second"
	@echo "make test         every test but training's; WORKERS=1 runs them one after the other"
	@echo "make test-train   training's tests (installs torch)"
	@echo "make test-colcon  builds it with colcon, as a workspace does (installs colcon)"
	@echo "make test-pycuda  the GPU path's tests with pycuda, on the stand-in driver (builds pycuda once: minutes)"
	@echo "make test-jazzy   the node's tests on ROS 2 Jazzy's wheels, in an environment of its own"
	@echo "make slow-tests   measures all tests again, for test/slow_tests.txt"
	@echo "make cubins       compiles the GPU kernels that ship, after a change of kernels.cu"
	@echo "make gpu-check [FRAMES=folder] [GPU_PYTHON=python]   what only a machine with an NVIDIA GPU can prove"
	@echo "make torture [MESSAGES=10000] [ONLY=raw|compressed|faults|hammer|soak|replay]   a campaign against the live node: fuzzing, faults, life cycle, a soak, killed replays"
	@echo "make bench        how long each stage of a frame takes"
	@echo "make docs         the documentation as a site, in site/"
	@echo "make picture      the README's picture, from make run"
	@echo "make clean        remove the virtual environment and out/"

setup: $(VENV)/.ready

# A virtual environment whose pip runs is kept; one without, as an interruption or a missing python3-venv leaves it, is
# made again. The folder is the last word.
make_venv = $(lastword $(1))/bin/python -m pip --version >/dev/null 2>&1 || \
  { $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
    { echo "$(PYTHON) can make no virtual environment: sudo apt install python3-venv (for another Python, e.g. python3.12-venv)" >&2; exit 1; }; \
    $(PYTHON) -m venv --clear $(1); }

$(VENV)/.ready: setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info[:2] <= (3, 13) else "drive_seg needs Python 3.10 to 3.13, this is " + sys.version.split()[0] + ": make PYTHON=python3.12")'
	@$(PYTHON) -c 'import platform, sys; here = platform.system() + " on " + platform.machine(); sys.exit(0 if here == "Linux on x86_64" else "PyPI has ROS 2 for Linux on x86_64 only, this is " + here + ": install drive_seg beside a ROS 2 distribution (docs/install.md)")'
	@$(call make_venv,$(VENV))
	@echo "installing into $(VENV) (the first time takes a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]'
	@touch $@

run: setup
	@$(BIN)/drive-seg demo $${SOURCE:+--source="$$SOURCE"} $${TOPIC:+--topic="$$TOPIC"} \
	  $${DURATION:+--duration="$$DURATION"} $${RATE:+--rate="$$RATE"} --out out

check: lint
	@$(PYTEST) -q -m 'not slow and not train' $(PARALLEL)

test: lint rtx gpu-tools compiled
	@$(PYTEST) -m 'not train' $(PARALLEL)

slow-tests: setup rtx gpu-tools compiled
	@$(PYTEST) -q -m 'not train' --note-slow

# So that no two tests compile the same at once.
compiled: setup
	@$(BIN)/drive-seg build --cpu

lint: setup
	@$(BIN)/ruff check .
	@if grep -q '^.tool.mypy' pyproject.toml; then $(BIN)/mypy; fi
	@$(BIN)/codespell

# TensorRT for RTX builds plans on machines without a GPU, so the tests build them for real. It is large (95 MB), and
# there is none but for x86-64 Linux: without it those tests skip and say why.
rtx: $(VENV)/.ready-rtx

# Where an install fails the file is not made, and the next time tries again.
$(VENV)/.ready-rtx: $(VENV)/.ready
	@echo "installing TensorRT for RTX, to build plans in the tests"
	@{ $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[rtx]' && touch $@; } || \
	  echo "TensorRT for RTX can't be installed here: the tests that build plans are skipped"

# What the GPU path is tested with where there is no GPU: cuda-bindings, NVIDIA's compiler and disassembler, and the Python
# bindings of two TensorRTs (each in a folder of its own: they share a name). 45 MB.
gpu-tools: $(VENV)/.ready-gpu-tools

$(VENV)/.ready-gpu-tools: $(VENV)/.ready
	@echo "installing what tests the GPU path without a GPU"
	@{ $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[gpu-test]' && \
	  { missing=; for package in cu12-bindings==10.3.0 cu13-bindings==11.4.0.106; do \
	      folder=$(VENV)/tensorrt/$${package##*==}; \
	      test -d $$folder/tensorrt_bindings || $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	        --no-deps --upgrade --target $$folder tensorrt-$$package || missing=1; done; \
	    test -z "$$missing" && touch $@; }; } || \
	  echo "not all of the tools can be installed here: tests that need them are skipped"

# After a change of kernels.cu. With a second NVRTC (90 MB), for GPUs that CUDA 12.6 doesn't know.
cubins: gpu-tools
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cubins]'
	@$(BIN)/python test/helpers/cubins.py

$(VENV)/.ready-train: $(VENV)/.ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train]'
	@touch $@

# One thread each: two that wait for each other by spinning are slower on a busy machine.
test-train: $(VENV)/.ready-train
	@OMP_NUM_THREADS=1 $(PYTEST) -m train $(PARALLEL)

# Beside the environment's own packages: setuptools 80 has no more what colcon calls.
$(VENV)/colcon/.ready: $(VENV)/.ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --target $(VENV)/colcon \
	  colcon-common-extensions colcon-ros 'setuptools<80'
	@touch $@

test-colcon: $(VENV)/colcon/.ready
	@PATH="$(CURDIR)/$(VENV)/colcon/bin:$$PATH" PYTHONPATH="$(CURDIR)/$(VENV)/colcon" \
	  $(BIN)/python -m pytest -k colcon test/packaging/test_install.py

# In a folder of its own, so that `make test` doesn't take it: PyPI has pycuda's source alone.
test-pycuda: gpu-tools
	@$(BIN)/python test/helpers/build_pycuda.py $(VENV)/pycuda
	@PYTHONPATH="$(CURDIR)/$(VENV)/pycuda" $(PYTEST) -k pycuda $(PARALLEL) test/runtimes/tensorrt

# ROS 2 Jazzy has wheels too. Two ROS distributions can't share an environment.
$(JAZZY_VENV)/.ready: setup.py pyproject.toml
	@$(call make_venv,$(JAZZY_VENV))
	@echo "installing into $(JAZZY_VENV)"
	@$(JAZZY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[jazzy,bench,test]'
	@touch $@

test-jazzy: $(JAZZY_VENV)/.ready
	@$(JAZZY_VENV)/bin/python -m pytest test/ros test/play test/demo

torture: setup
	@$(BIN)/python test/helpers/torture.py --messages="$$MESSAGES" $${ONLY:+--only="$$ONLY"} --out out/torture

bench: setup
	@$(BIN)/drive-seg bench

# PyPI's `tensorrt` is for CUDA 13. For an older driver this is what to add to its name.
for_cuda_12 = $$($(PYTHON) -c 'import ctypes; cuda = ctypes.c_int(); \
  ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(cuda)); print("-cu12" if cuda.value < 13000 else "")')

# In an environment that sees the system's packages: on a Jetson TensorRT is there, and nowhere else. Elsewhere pip has it.
# The one for RTX is tried beside it (there is none for a Jetson). GPU_PYTHON names a Python that has all of it already.
$(GPU_VENV)/.ready: setup.py pyproject.toml
	@$(PYTHON) -c 'import ctypes; ctypes.CDLL("libcuda.so.1")' 2>/dev/null || \
	  { echo "gpu-check: no NVIDIA driver (libcuda.so.1) on this machine: run it on one with a GPU" >&2; exit 2; }
	@$(call make_venv,--system-site-packages $(GPU_VENV))
	@echo "installing into $(GPU_VENV)"
	@$(GPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[gpu]'
	@$(GPU_VENV)/bin/python -c 'import tensorrt' 2>/dev/null || \
	  $(GPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[gpu,tensorrt$(for_cuda_12)]" || \
	  echo "TensorRT can't be installed here: without one, the network between the kernels needs PyTorch"
	@$(GPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[gpu,rtx]' || \
	  echo "TensorRT for RTX can't be installed here"
	@touch $@

gpu-check: $(if $(GPU_PYTHON),,$(GPU_VENV)/.ready)
	@PYTHONPATH=. "$${GPU_PYTHON:-$(GPU_VENV)/bin/python}" -m drive_seg.gpu_check $${FRAMES:+--frames="$$FRAMES"} \
	  --out out/gpu_check

$(VENV)/.ready-docs: $(VENV)/.ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@

docs: $(VENV)/.ready-docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "site/index.html"

picture: setup
	@$(BIN)/drive-seg demo --out out
	@$(BIN)/python -m drive_seg.demo.picture out/overlay.mp4 docs/overlay.webp

clean:
	rm -rf $(VENV) $(GPU_VENV) $(JAZZY_VENV) out site build install log
