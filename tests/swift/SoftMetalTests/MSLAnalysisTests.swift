import XCTest

@testable import SoftMetal

final class MSLAnalysisTests: XCTestCase {
  private let plain = ShaderFlavour(lockstep: false, checked: false)

  private func arguments(_ parameters: String, _ before: String = "", _ values: [ConstantValue] = []) throws -> [String]
  {
    let module = try MSLSamples.module("\(before) kernel void k(\(parameters)) {}")
    return try module.translate("k", constants: values, flavour: plain).arguments.map {
      "\($0.name)\($0.slot)\($0.isWritten ? "w" : "r")"
    }
  }

  func testFunctionsAreNamedAndPlaced() throws {
    let module = try MSLSamples.module(MSLSamples.everything)
    XCTAssertEqual(module.functions.map(\.name), ["scale_f32", "scale_f16", "plain"])
    let lines = MSLSamples.everything.split(separator: "\n", omittingEmptySubsequences: false)
    let places = ["scale_f32", "scale_f16", "plain"].map { name in lines.firstIndex { $0.contains(name) } }
    XCTAssertEqual(module.functions.map(\.line), places)
    XCTAssertEqual(module.functions.map(\.maxTotalThreads), [128, 64, nil])
  }

  func testInstantiations() throws {
    let template = "template <typename T, int N> kernel void f(device T *p [[buffer(0)]]) {} "
    let spellings = [
      "template [[host_name(\"a\")]] kernel void f<float, 2>(device float *);",
      "template [[host_name(\"a\")]] [[kernel]] void f<float, 2>(device float *p [[buffer(0)]]);",
      "template [[host_name(\"a\")]] kernel decltype(f<float, 2>) f<float, 2>;",
      "typedef decltype(f<float, 2>) t; template [[host_name(\"a\")]] kernel t f<float, 2>;",
      "template [[host_name(\"\" \"a\")]] [[kernel]] decltype(f<vec<float, 2>, (2 > 1)>) f<vec<float, 2>, (2 > 1)>;",
    ]
    for spelling in spellings {
      let module = try MSLSamples.module(template + spelling)
      XCTAssertEqual(module.functions.map(\.name), ["a"], spelling)
      let text = try module.translate("a", constants: [], flavour: plain).text
      XCTAssertTrue(text.contains("::f<") || text.contains("::f <"), spelling)
      XCTAssertFalse(text.contains("host_name"), spelling)
    }
  }

  func testTemplatesOfOneNameAreToldApartByTheirArguments() throws {
    let templates = """
      template <typename T, int N> kernel void f(device T *p) {} template <typename T, typename U, int N> kernel void f(device U *p) {}
      template <typename T, typename U, bool B = false> kernel void g(device T *p) {} template <typename T, int N> kernel void g(device T *q) {}

      """
    func kernel(_ name: String) throws -> Int? {
      try MSLSamples.module("\(templates)template [[host_name(\"h\")]] kernel decltype(\(name)) \(name);").program
        .entry("h")?.kernel
    }
    XCTAssertEqual(try kernel("f<float, 2>"), 0)
    XCTAssertEqual(try kernel("f<float, half, 2>"), 1)
    XCTAssertEqual(try kernel("g<float, half>"), 2)
    XCTAssertEqual(try kernel("g<float, half, true>"), 2)
    XCTAssertThrowsError(try kernel("f<float>"))
    XCTAssertEqual(try kernel("g<float, 2>"), 3)
  }

  func testSlotsAreGivenOrNumbered() throws {
    XCTAssertEqual(try arguments("device float *a, device float *b"), ["a0w", "b1w"])
    XCTAssertEqual(
      try arguments("device float *a [[buffer(1)]], device float *b, device float *c"), ["b0w", "a1w", "c2w"])
    XCTAssertEqual(try arguments("device float *a [[buffer(n * 2)]]", "constant int n = 3;"), ["a6w"])
    XCTAssertEqual(
      try arguments(
        "device float *a [[buffer(n)]]", "constant int n [[function_constant(0)]];", [MSLSamples.value(0, 9)]), ["a9w"])
  }

  func testAccess() throws {
    XCTAssertEqual(
      try arguments(
        "constant float *a, device const float *b, const device float &c, device float *const d, constant int e[3], "
          + "device atomic_uint &f"), ["a0r", "b1r", "c2r", "d3w", "e4r", "f5w"])
    XCTAssertEqual(try arguments("fp a [[buffer(3)]]", "typedef device const float *fp;"), ["a3r"])
  }

  func testConditionalArguments() throws {
    let before =
      "constant bool on [[function_constant(0)]]; constant bool use = is_function_constant_defined(on) && on;"
    let parameters = "device float *a [[buffer(0)]], device float *b [[buffer(1), function_constant(use)]]"
    XCTAssertEqual(try arguments(parameters, before), ["a0w"])
    XCTAssertEqual(try arguments(parameters, before, [MSLSamples.value(0, true)]), ["a0w", "b1w"])
    XCTAssertEqual(try arguments(parameters, before, [MSLSamples.value(0, false)]), ["a0w"])
    // One slot for two parameters, of which one exists.
    let either =
      "device float *a [[buffer(0), function_constant(on)]], device int *b [[buffer(0), function_constant(off)]]"
    let constants = "constant bool on [[function_constant(0)]]; constant bool off = !on;"
    XCTAssertEqual(try arguments(either, constants, [MSLSamples.value(0, true)]), ["a0w"])
    XCTAssertEqual(try arguments(either, constants, [MSLSamples.value(0, false)]), ["b0w"])
  }

  func testThreadgroupSlots() throws {
    let module = try MSLSamples.module(MSLSamples.everything)
    let values = [MSLSamples.value(602, 3)]
    XCTAssertEqual(try module.translate("scale_f32", constants: values, flavour: plain).threadgroupSlots, [0, 1])
  }

  func testSizesOfReferences() throws {
    let module = try MSLSamples.module(MSLSamples.everything)
    let arguments = try module.translate("scale_f16", constants: [MSLSamples.value(602, 3)], flavour: plain).arguments
    XCTAssertEqual(arguments.map(\.minBytes), [40, 0, 0])
    let template = try MSLSamples.module(
      "template <typename T> kernel void f(constant T &x) {} template [[host_name(\"g\")]] kernel void f<float3>(constant float3 &);"
    )
    XCTAssertEqual(try template.translate("g", constants: [], flavour: plain).arguments.map(\.minBytes), [16])
  }

  func testConstants() throws {
    let module = try MSLSamples.module(MSLSamples.everything)
    XCTAssertEqual(module.constants.map(\.name), ["has_bias", "width"])
    XCTAssertEqual(module.constants.map(\.index), [601, 602])
    XCTAssertEqual(module.constants.map(\.type), [.bool, .int])
    let used = module.constants(usedBy: "scale_f32")
    XCTAssertEqual(used.map(\.0.name), ["has_bias", "width"])
    XCTAssertEqual(used.map(\.required), [false, true])
    XCTAssertTrue(module.constants(usedBy: "plain").isEmpty)
    XCTAssertTrue(module.constants(usedBy: "nobody").isEmpty)
  }

  func testConstantsAreReachedThroughFunctionsAndTypes() throws {
    let module = try MSLSamples.module(
      """
      constant int a [[function_constant(0)]]; constant int b [[function_constant(1)]]; constant int c [[function_constant(2)]];
      int deep() { return a; } struct S { int get() { return b; } int deep; };
      template <int (*f)()> kernel void t(device int *p) { *p = f(); }
      kernel void k(device int *p) { S s; *p = s.get(); }
      template [[host_name("u")]] kernel void t<deep>(device int *);
      """)
    XCTAssertEqual(module.constants(usedBy: "k").map(\.0.name), ["b"])
    XCTAssertEqual(module.constants(usedBy: "u").map(\.0.name), ["a"])
  }

  func testTypesOfConstants() throws {
    let types: [(String, MTLDataType)] = [
      ("bool", .bool), ("uint", .uint), ("int32_t", .int), ("unsigned int", .uint), ("float4", .float4),
      ("half", .half),
      ("bfloat", .bfloat), ("ulong", .ulong), ("metal::short2", .short2), ("alias", .uchar),
    ]
    for (name, type) in types {
      let module = try MSLSamples.module("typedef uint8_t alias; constant \(name) c [[function_constant(4)]];")
      XCTAssertEqual(module.constants.map(\.type), [type], name)
    }
  }

  func testBuiltInInputsOfEveryType() throws {
    for input in BuiltInInputs.positions {
      for type in [
        "uint", "uint2", "uint3", "ushort", "ushort2", "ushort3", "metal::uint3", "vec<uint, 2>", "const uint",
      ] {
        XCTAssertNoThrow(try MSLSamples.module("kernel void k(\(type) i [[\(input)]]) {}"), "\(type) \(input)")
      }
    }
    for input in BuiltInInputs.groups {
      for type in ["uint", "ushort"] {
        XCTAssertNoThrow(try MSLSamples.module("kernel void k(\(type) i [[\(input)]]) {}"), "\(type) \(input)")
      }
    }
  }
}
