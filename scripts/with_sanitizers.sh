#!/usr/bin/env bash
# with_sanitizers.sh COMMAND...: runs a command whose C and C++ libraries may be built with address and undefined
# behaviour sanitizers, though the program itself is not: their run-time has to be loaded first.
set -euo pipefail

clang=$(dirname "$(readlink -f "$(command -v swift)")")/clang
runtime=$("$clang" -print-file-name="libclang_rt.asan-$(uname -m).so")
if [[ ! -f $runtime ]]; then
  echo "with_sanitizers: this toolchain has no ${runtime##*/}" >&2
  exit 1
fi

# The C++ library comes second, so that the run-time finds the exception functions it wraps. The interpreter keeps
# memory to its end on purpose: leaks are not looked for.
export LD_PRELOAD="$runtime $("$clang" -print-file-name=libstdc++.so.6)"
# A request for too much memory is NumPy's to refuse.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1
exec "$@"
