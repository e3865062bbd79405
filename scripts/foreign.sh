#!/usr/bin/env bash
# The core compiled for 64-bit ARM (NEON) and run in an emulator: that it compiles, and that its numbers are right.
# Needs Debian's g++-aarch64-linux-gnu and qemu-user-static; says so and stops where they are missing.
set -euo pipefail
cd "$(dirname "$0")/.."
for tool in aarch64-linux-gnu-g++ qemu-aarch64-static; do
  command -v "$tool" > /dev/null || { echo "$tool is missing: apt-get install g++-aarch64-linux-gnu qemu-user-static"; exit 2; }
done
mkdir -p build
flags=(-std=c++17 -O3 -ffp-contract=off -fno-math-errno -fno-trapping-math -fno-tree-loop-distribute-patterns -Wall -Wextra -Wno-psabi)
for part in isa online; do
  aarch64-linux-gnu-g++ "${flags[@]}" -DTIDEGATE_ISA=baseline -c "src/tidegate/kernels/cpp/$part.cpp" -o "build/foreign-$part.o"
done
aarch64-linux-gnu-g++ -std=c++17 -O1 -static scripts/foreign.cpp build/foreign-isa.o build/foreign-online.o -o build/foreign
qemu-aarch64-static build/foreign
