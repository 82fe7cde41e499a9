# SPDX-License-Identifier: Apache-2.0
# Thin on purpose: CMake builds, scripts/ do the rest.
#   make demo     install what is missing, build, run the mission and the quickstart (two minutes once the packages are there)
#   make experiments   runs what makes claims, and writes the table of them (a quarter of an hour; what is there already is kept)
#   make paper    the PDF: quickstart, experiments, figures, LaTeX
#   make check    everything CI checks: lint, warnings as errors, all tests, ASan/UBSan, TSan, fuzz targets
.PHONY: build demo check experiments paper format fuzz clean

# CUDA kernels take minutes to compile: where there is no GPU to run them, only `make check` does it.
build:
	@scripts/install-packages demo
	@cmake --preset release $$([ -e /dev/nvidiactl ] || echo -DTANDEM_NVCC=OFF)
	@cmake --build --preset release --target tandem

demo: build
	@scripts/demo

experiments: build
	@scripts/experiments

paper: build
	@scripts/install-packages paper
	@cmake --preset release >/dev/null
	@cmake --build --preset release --target engine_exactness engine_fleet engine_queueing
	@scripts/paper

check:
	@scripts/install-packages check
	@scripts/check

format:
	@scripts/format --write

fuzz:
	@scripts/install-packages check
	@scripts/fuzz 60

clean:
	@rm -rf build out
