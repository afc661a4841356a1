import XCTest

@testable import SoftMetal

/// What of a compiler's words about a probe counts against a shader.
final class SpaceProbeTests: XCTestCase {
  private func errors(_ output: String, overloads: Int = 1) -> String? {
    SpaceProbe { _ in overloads }.errors(output, isLibrary: { $0 == "softmetal_probe.h" })
  }

  func testMixedSpacesCountUnderMetalsNames() {
    let output =
      "a:3:5: error: cannot initialize a variable of type '__local float *__private' with an lvalue of type "
      + "'__global float *__private'\nsoftmetal_probe.h:1:1: note: hidden\na:1:2: note: shown\n"
    XCTAssertEqual(
      errors(output),
      "a:3:5: error: cannot initialize a variable of type 'threadgroup float *' with an lvalue of type 'device float *'\n"
        + "a:1:2: note: shown")
    for text in [
      "assigning '__global float *__private' to 'const __local float *' changes address space of pointer",
      "C-style cast from '__global float *' to '__local float4 *' (aka '__local vec<float, 4> *') converts between "
        + "mismatching address spaces",
      "binding reference of type '__private float' to value of type '__global float' changes address space",
      "incompatible operand types ('__global float *' and '__local float *')",
    ] {
      XCTAssertNotNil(errors("a:1:1: error: \(text)\n"), text)
    }
  }

  func testWhatMayHaveAnotherCauseIsDropped() {
    for text in [
      "use of undeclared identifier 'x'",
      "cannot initialize a variable of type '__local float *' with an lvalue of type '__global int *'",
      "cannot initialize a variable of type '__global float *' with an lvalue of type '__global int *'",
      "binding reference of type '__private s' to value of type '__generic s' changes address space",
      "assigning '__generic float *' to '__private float *' changes address space of pointer",
      "no matching constructor for initialization of '__private s'",
      "reinterpret_cast from '__global float *' to '__global int' is not allowed",
      "unbalanced ' quotes 'and' others",
    ] {
      XCTAssertNil(errors("a:1:1: error: \(text)\n"), text)
    }
    XCTAssertNil(
      errors("softmetal_probe.h:1:1: error: incompatible operand types ('__global T *' and '__local T *')\n"))
    XCTAssertNil(errors(""))
  }

  func testCallsCountIfEveryCandidateWantsAnotherSpace() {
    let call = "a:9:1: error: no matching function for call to 'f'\n"
    let space =
      "a:2:1: note: candidate function not viable: cannot pass pointer to address space '__global' as a pointer to "
      + "address space '__local' in 1st argument\n"
    let deduced =
      "a:3:1: note: candidate template ignored: deduced type '__global float *__private' of 1st parameter does not match "
      + "adjusted type '__local float *' of argument [with T = float]\n"
    let count = "a:4:1: note: candidate function not viable: requires 2 arguments, but 1 was provided\n"
    let generic = space.replacing("__global", with: "__generic")
    XCTAssertNotNil(errors(call + space))
    XCTAssertNotNil(errors(call + space + deduced, overloads: 2))
    XCTAssertNil(errors(call))
    XCTAssertNil(errors(call + space + count))
    XCTAssertNil(errors(call + generic))
    XCTAssertNil(errors(call + space, overloads: 2), "a function that was not understood")
  }

  func testProbeTextKeepsSpacesAndInstantiatesKernels() throws {
    let source = """
      using namespace metal;
      struct s { float v; float get() device { return v; } };
      template <typename T> [[kernel]] void k(device T *x [[buffer(0)]], constant s &c [[buffer(1)]]) {
        threadgroup float2 g[4];
        g[0] = float2(c.v).yx;
        x[0] = static_cast<T>(g[0].y);
      }
      template [[host_name("k_float")]] [[kernel]] void k<float>(device float *, constant s &);
      """
    let text = try MSLSamples.module(source).translateForProbe()
    for part in [
      "float get() device {", "device T *x", "constant s &c", "static_cast<T>", ".yx", "threadgroup sm_t0 &g",
      "auto sm_kernel = &::k< float >;",
    ] {
      XCTAssertTrue(text.contains(part), "\(part)\n\(text)")
    }
  }
}
