#!/usr/bin/env bash
# need.sh swift|python ...: checks that build tools are there, and says how to get a missing one.
set -euo pipefail

python=${PYTHON:-python3}

missing() {
  printf 'pyfa: %s\n' "$@" >&2
  exit 1
}

need_swift() {
  command -v swift >/dev/null ||
    missing "swift is not on the PATH." \
      "Get Swift 6.3 or newer from https://www.swift.org/install (on a Mac: Xcode 26.4 or newer)."
  local version
  version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1)
  local major=${version%%.*} minor=${version#*.}
  if ((${major:-0} < 6 || (${major:-0} == 6 && ${minor:-0} < 3))); then
    missing "swift is ${version:-of an unknown version}, needed is 6.3 or newer: https://www.swift.org/install"
  fi
}

need_python() {
  command -v "$python" >/dev/null ||
    missing "$python is not on the PATH; needed is Python 3.10 or newer." \
      "On Debian and Ubuntu: apt-get install python3 python3-venv. On a Mac: brew install python." \
      "Another interpreter: make PYTHON=/path/to/python3 ..."
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    missing "$python is $("$python" --version 2>&1); needed is Python 3.10 or newer." \
      "Another interpreter: make PYTHON=/path/to/python3 ..."
  "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    missing "$python cannot make virtual environments: its venv or ensurepip module is missing." \
      "On Debian and Ubuntu: apt-get install python3-venv"
}

for tool in "$@"; do
  case $tool in
    swift | python) "need_$tool" ;;
    *) missing "need.sh: unknown tool '$tool'" ;;
  esac
done
