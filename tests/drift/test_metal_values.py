"""Raw values of Metal's enumerations, in SoftMetal and in the stand-in: programs on a Mac depend on each of them."""

import re

import pytest

from tests.drift.conftest import ROOT, without_comments


def vectors(name, first):
    return {name: first, f"{name}2": first + 1, f"{name}3": first + 2, f"{name}4": first + 3}


def matrices(name, first):
    sizes = [f"{columns}x{rows}" for columns in (2, 3, 4) for rows in (2, 3, 4)]
    return {f"{name}{size}": first + index for index, size in enumerate(sizes)}


def versions(*numbers):
    return {f"version{major}_{minor}": major << 16 | minor for major, minor in numbers}


def counted(first, *names):
    return {name: first + index for index, name in enumerate(names)}


# As Metal's headers define them; zero-valued options but storageModeShared have no name in Swift.
FACTS = {
    "MTLStorageMode": counted(0, "shared", "managed", "private", "memoryless"),
    "MTLCPUCacheMode": counted(0, "defaultCache", "writeCombined"),
    "MTLHazardTrackingMode": counted(0, "default", "untracked", "tracked"),
    "MTLPurgeableState": counted(1, "keepCurrent", "nonVolatile", "volatile", "empty"),
    "MTLResourceOptions": {
        "cpuCacheModeWriteCombined": 0x1,
        "storageModeShared": 0x0,
        "storageModeManaged": 0x10,
        "storageModePrivate": 0x20,
        "storageModeMemoryless": 0x30,
        "hazardTrackingModeUntracked": 0x100,
        "hazardTrackingModeTracked": 0x200,
    },
    "MTLBarrierScope": {"buffers": 1, "textures": 2, "renderTargets": 4},
    "MTLResourceUsage": {"read": 1, "write": 2, "sample": 4},
    "MTLPipelineOption": {"bindingInfo": 1, "bufferTypeInfo": 2, "failOnBinaryArchiveMiss": 4},
    "MTLCommandBufferErrorOption": {"encoderExecutionStatus": 1},
    "MTLDispatchType": counted(0, "serial", "concurrent"),
    "MTLCommandBufferStatus": counted(0, "notEnqueued", "enqueued", "committed", "scheduled", "completed", "error"),
    "MTLCommandEncoderErrorState": counted(0, "unknown", "completed", "affected", "pending", "faulted"),
    "MTLFunctionType": counted(1, "vertex", "fragment", "kernel")
    | counted(5, "visible", "intersection", "mesh", "object"),
    "MTLFunctionOptions": {
        "compileToBinary": 1,
        "storeFunctionInMetalPipelinesScript": 2,
        "failOnBinaryArchiveMiss": 4,
        "pipelineIndependent": 8,
    },
    "MTLLibraryType": counted(0, "executable", "dynamic"),
    "MTLLibraryOptimizationLevel": counted(0, "default", "size"),
    "MTLCompileSymbolVisibility": counted(0, "default", "hidden"),
    "MTLMathMode": counted(0, "safe", "relaxed", "fast"),
    "MTLMathFloatingPointFunctions": counted(0, "fast", "precise"),
    "MTLShaderValidation": counted(0, "default", "enabled", "disabled"),
    "MTLLanguageVersion": versions(
        (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (2, 3), (2, 4), (3, 0), (3, 1), (3, 2), (4, 0), (4, 1)
    ),
    "MTLGPUFamily": {f"apple{n}": 1000 + n for n in range(1, 11)}
    | {f"common{n}": 3000 + n for n in range(1, 4)}
    | {"mac2": 2002, "metal3": 5001, "metal4": 5002},
    "MTLDataType": {"none": 0, "struct": 1, "array": 2, "texture": 58, "sampler": 59, "pointer": 60}
    | vectors("float", 3)
    | matrices("float", 7)
    | vectors("half", 16)
    | matrices("half", 20)
    | vectors("int", 29)
    | vectors("uint", 33)
    | vectors("short", 37)
    | vectors("ushort", 41)
    | vectors("char", 45)
    | vectors("uchar", 49)
    | vectors("bool", 53)
    | vectors("long", 81)
    | vectors("ulong", 85)
    | vectors("bfloat", 121),
    "MTLBindingType": counted(0, "buffer", "threadgroupMemory", "texture", "sampler"),
    "MTLBindingAccess": counted(0, "readOnly", "readWrite", "writeOnly"),
    "MTLMutability": counted(0, "default", "mutable", "immutable"),
    "MTLArgumentBuffersTier": counted(0, "tier1", "tier2"),
    "MTLLibraryError.Code": counted(
        1, "unsupported", "internal", "compileFailure", "compileWarning", "functionNotFound", "fileNotFound"
    ),
    "MTLCommandBufferError.Code": counted(0, "none", "internal", "timeout", "pageFault", "accessRevoked")
    | counted(7, "notPermitted", "outOfMemory", "invalidResource", "memoryless", "deviceRemoved", "stackOverflow"),
    "MTLCaptureDestination": counted(1, "developerTools", "gpuTraceDocument"),
    "MTLCaptureError": counted(1, "notSupported", "alreadyCapturing", "invalidDescriptor"),
}

TYPE = re.compile(r"^( *)(?:@frozen )?public (?:enum|struct) (\w+)\s*(?::[^{]*)?{", re.MULTILINE)


def number(text):
    return int(text.replace("_", ""), 0)


def enumerators(body):
    """Return {case: raw value} of an enumeration or option set, as Swift counts."""
    body = re.sub(r",\n\s+", ", ", body)
    values = {}
    following = 0
    for line in re.findall(r"^\s*case ([^.:\n(]+)$", body, flags=re.MULTILINE):
        for part in line.split(","):
            name, _, value = (piece.strip().strip("`") for piece in part.partition("="))
            values[name] = number(value) if value else following
            following = values[name] + 1
    # An open enumeration spells its values in `rawValue`.
    for name, value in re.findall(r"case \.(\w+): (\d+)$", body, flags=re.MULTILINE):
        values[name] = number(value)
    for name, value in re.findall(r"`?(\w+)`? = Self\((?:rawValue: (\w+)|\[\])\)", body):
        values[name] = number(value or "0")
    return values


def types_in(text):
    """Return {type: {case: raw value}} of every public type that has any."""
    text = without_comments(text)
    found = {}
    outer = ""
    for match in TYPE.finditer(text):
        indent, name = match.groups()
        line = text[match.end() : text.index("\n", match.end())].rstrip()
        if line.endswith("}"):
            body = line.removesuffix("}").replace(";", "\n")
        else:
            body = text[match.end() : re.compile(rf"^{indent}}}", re.MULTILINE).search(text, match.end()).start()]
        if not indent:
            outer = name
        full_name = f"{outer}.{name}" if indent else name
        if not indent and re.search(r"^ +public enum Code\b", body, re.MULTILINE):
            continue  # the nested Code has the values
        values = enumerators(body)
        if values:
            found[full_name] = values
    return found


SOFT_METAL = {
    name: values
    for path in sorted((ROOT / "Sources" / "SoftMetal").rglob("*.swift"))
    for name, values in types_in(path.read_text(encoding="utf-8")).items()
    if name.startswith("MTL")
}
STAND_IN = types_in((ROOT / "tests/drift/metal_stub/Metal.swift").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(SOFT_METAL))
def test_software_metal_has_metals_values(name):
    assert SOFT_METAL[name].items() <= FACTS[name].items()


@pytest.mark.parametrize("name", sorted(STAND_IN))
def test_stand_in_has_metals_values(name):
    assert STAND_IN[name].items() <= FACTS[name].items()


def test_no_type_was_overlooked():
    # The parser above is told from a text search that knows no grammar.
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "Sources" / "SoftMetal").rglob("*.swift"))
    raw_valued = set(re.findall(r"public enum (MTL\w+): (?:UInt|Int|RawRepresentable)\b", text))
    raw_valued |= set(re.findall(r"public struct (MTL\w+): OptionSet", text))
    assert raw_valued <= set(SOFT_METAL)
    assert len(raw_valued) > 15
