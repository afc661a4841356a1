#!/usr/bin/env bash
# fuzz.sh SECONDS: coverage-guided fuzzing of the shader front end. What it finds is kept under build/fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-120}
clang=$(dirname "$(readlink -f "$(command -v swift)")")/clang
out=build/fuzz
mkdir -p "$out/objects" "$out/corpus"

for file in $(find Sources/CSoftMetal -name '*.cpp' -o -name '*.c' | sort); do
  object=$out/objects/$(tr / _ <<<"$file").o
  [[ $object -nt $file ]] && continue
  standard=-std=c++17
  [[ $file == *.c ]] && standard='-std=c17 -Wno-c23-extensions'
  # shellcheck disable=SC2086
  "$clang" $standard -O1 -c -I Sources/CSoftMetal/include "$file" -o "$object"
done
# One module with the sources: what is fuzzed is not public.
swiftc -O -swift-version 6 -enable-upcoming-feature ExistentialAny -parse-as-library -module-name SoftMetal \
  -sanitize=fuzzer -whole-module-optimization -I Sources/CSoftMetal/include \
  -o "$out/front_end" tests/fuzz/FrontEnd.swift tests/swift/SoftMetalTests/FrontEndExercise.swift \
  $(find Sources/SoftMetal -name '*.swift') "$out"/objects/*.o -lstdc++

exec "$out/front_end" "$out/corpus" tests/fuzz/corpus shaders -max_total_time="$seconds" -timeout=10 -max_len=40000 \
  -artifact_prefix="$out/"
