#!/usr/bin/env bash
# Type-checks FlashAttn and FlashAttnABI as a Mac compiles them, where `canImport(Metal)` holds, against tests/drift/metal_stub.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ $(uname -s) == Darwin ]]; then
  echo "check-metal: this is a Mac; 'make build' compiles against Metal itself"
  exit 0
fi

modules=build/metal_stub
mkdir -p "$modules"
flags=(-swift-version 6 -package-name pyfa -enable-upcoming-feature ExistentialAny -parse-as-library)

# Metal itself has what Swift warns of, such as options without bits.
swiftc -emit-module "${flags[@]}" -suppress-warnings -module-name Metal \
  -emit-module-path "$modules/Metal.swiftmodule" tests/drift/metal_stub/Metal.swift

check() { # MODULE
  find "Sources/$1" -name '*.swift' -print0 | sort -z |
    xargs -0 swiftc -typecheck "${flags[@]}" -warnings-as-errors -module-name "$1" \
      -I "$modules" -I Sources/CFlashAttn/include
}

check FlashAttn
# What the C interface imports.
find Sources/FlashAttn -name '*.swift' -print0 | sort -z |
  xargs -0 swiftc -emit-module "${flags[@]}" -module-name FlashAttn -emit-module-path "$modules/FlashAttn.swiftmodule" \
    -I "$modules" -I Sources/CFlashAttn/include
check FlashAttnABI
echo "check-metal: FlashAttn and FlashAttnABI type-check against the Metal stand-in"
