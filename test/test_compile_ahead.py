"""`drive-seg build --cpu` compiles every function that Numba compiles, so that no start and no frame waits for it."""

import subprocess
import sys

ALL = """
import importlib, pkgutil, sys
import drive_seg
from drive_seg.compile_ahead import compile_ahead
from drive_seg.network import Network
from drive_seg.resources import default_network

compile_ahead(Network.load(default_network()))
from numba.core.dispatcher import Dispatcher

functions = {function for name, module in list(sys.modules.items()) if name.startswith("drive_seg.")
             for function in vars(module).values() if isinstance(function, Dispatcher)}
inner = [f.py_func.__globals__.get(name) for f in functions for name in f.py_func.__code__.co_names]
outer = functions - {f for f in inner if isinstance(f, Dispatcher)}  # the others are compiled into their callers
print(len(outer), "left:", *(f"{f.__module__}.{f.__name__}" for f in outer if not f.signatures))
"""


def test_every_compiled_function_is_compiled_ahead():
    done = subprocess.run([sys.executable, "-c", ALL], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    count, _, left = done.stdout.strip().partition(" left:")
    assert int(count) > 15 and not left.strip(), f"not compiled ahead: {left}"
