# Two commands set everything up by themselves: `make demo` and `make test`.
.PHONY: demo test check types tests bench sanitize foreign wheel clean

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
export MPLBACKEND := Agg

demo: $(READY)
	$(BIN)/tidegate demo --out out/demo

test: check types tests

# constraints.txt pins every version; torch comes as pip's CPU build of the pinned version. The core is compiled here,
# by the compilers' own tools from pip and the machine's g++.
$(READY): pyproject.toml constraints.txt CMakeLists.txt $(wildcard src/tidegate/kernels/cpp/*)
	@echo "First time: fetching what constraints.txt names (torch among it), then compiling the core; some minutes."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt scikit-build-core nanobind cmake ninja
	@echo "Fetched the compiler's tools; now the rest, and the core."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $(READY)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

tests: $(READY)
	bash scripts/chromium.sh
	$(BIN)/python -m pytest

# the core under AddressSanitizer and UBSan: every test that reaches into it
sanitize: $(READY)
	$(BIN)/cmake -G Ninja -S . -B build/sanitize -DTIDEGATE_SANITIZE=ON -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja \
		-DPython_EXECUTABLE=$(abspath $(BIN))/python
	$(BIN)/cmake --build build/sanitize
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
		$(BIN)/python scripts/sanitized.py build/sanitize/_core.*.so -p no:cacheprovider \
		tests/test_core.py tests/test_adam.py tests/test_stream.py tests/test_nn.py tests/test_online.py

# the core for ARM, in an emulator
foreign:
	bash scripts/foreign.sh

wheel: $(READY)
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist .
	ls -l dist

bench: $(READY)
	$(BIN)/python bench/kernels.py
	$(BIN)/python bench/ensemble.py
	$(BIN)/python bench/quality.py
	$(BIN)/python bench/budget.py
	$(BIN)/python bench/turns.py
	$(BIN)/python bench/reader.py
	$(BIN)/python bench/promises.py
	$(BIN)/python bench/online.py

clean:
	rm -rf .venv build dist out .pytest_cache .mypy_cache .ruff_cache .hypothesis
