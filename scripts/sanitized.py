"""Run tests with a core that was built with sanitizers, in place of the installed one: `make sanitize`."""

import importlib.util
import sys

import pytest

path, *words = sys.argv[1:]
spec = importlib.util.spec_from_file_location("tidegate.kernels._core", path)
assert spec is not None and spec.loader is not None
module = importlib.util.module_from_spec(spec)
sys.modules["tidegate.kernels._core"] = module
spec.loader.exec_module(module)
sys.exit(pytest.main(words))
