import Foundation
import SoftMetal
import XCTest

final class DeviceTests: XCTestCase {
  func testSystemDeviceIsOneAndTheSame() throws {
    let device = try XCTUnwrap(MTLCreateSystemDefaultDevice())
    XCTAssertTrue(device === MTLCreateSystemDefaultDevice())
    XCTAssertEqual(MTLCopyAllDevices().count, 1)
    XCTAssertTrue(MTLCopyAllDevices().first === device)
    let own = SoftMetalDevice()
    XCTAssertFalse(own === device)
    XCTAssertNotEqual(own.registryID, device.registryID)
  }

  func testProperties() throws {
    let device: any MTLDevice = SoftMetalDevice()
    XCTAssertEqual(device.name, "SoftMetal")
    XCTAssertEqual(device.maxThreadsPerThreadgroup.width, 1024)
    XCTAssertEqual(device.maxThreadgroupMemoryLength, 32768)
    XCTAssertTrue(device.hasUnifiedMemory)
    XCTAssertFalse(device.isRemovable)
    XCTAssertGreaterThan(device.maxBufferLength, 1 << 28)
    XCTAssertGreaterThan(device.recommendedMaxWorkingSetSize, UInt64(device.maxBufferLength))
    XCTAssertTrue(device.supportsFamily(.apple7))
    XCTAssertTrue(device.supportsFamily(.metal3))
    XCTAssertFalse(device.supportsFamily(.apple9))
    XCTAssertFalse(device.supportsFamily(.metal4))
    XCTAssertNil(device.makeDefaultLibrary())
    assertLibraryError(.unsupported, "x.metallib") { try device.makeLibrary(filepath: "x.metallib") }
    XCTAssertNil(device.makeCommandQueue(maxCommandBufferCount: 0))
    XCTAssertNotNil(device.makeCommandQueue(descriptor: MTLCommandQueueDescriptor()))
  }

  func testRawValues() {
    XCTAssertEqual(MTLGPUFamily.apple7.rawValue, 1007)
    XCTAssertEqual(MTLGPUFamily(rawValue: 5001), .metal3)
    XCTAssertEqual(MTLGPUFamily(rawValue: 424_242)?.rawValue, 424_242)
    for raw in [1001, 1010, 2002, 3001, 3003, 5001, 5002] {
      let family = MTLGPUFamily(rawValue: raw)
      XCTAssertEqual(family?.rawValue, raw)
      XCTAssertFalse("\(family!)".contains("unknown"))
    }
    XCTAssertEqual([MTLStorageMode.shared, .managed, .private, .memoryless].map(\.rawValue), [0, 1, 2, 3])
    XCTAssertEqual([MTLCPUCacheMode.defaultCache, .writeCombined].map(\.rawValue), [0, 1])
    XCTAssertEqual([MTLHazardTrackingMode.default, .untracked, .tracked].map(\.rawValue), [0, 1, 2])
    XCTAssertEqual([MTLPurgeableState.keepCurrent, .nonVolatile, .volatile, .empty].map(\.rawValue), [1, 2, 3, 4])
    XCTAssertEqual([MTLDispatchType.serial, .concurrent].map(\.rawValue), [0, 1])
    XCTAssertEqual(
      [MTLCommandBufferStatus.notEnqueued, .enqueued, .committed, .scheduled, .completed, .error].map(\.rawValue),
      [0, 1, 2, 3, 4, 5])
    XCTAssertEqual(
      [MTLFunctionType.vertex, .fragment, .kernel, .visible, .intersection, .mesh, .object].map(\.rawValue),
      [1, 2, 3, 5, 6, 7, 8])
    XCTAssertEqual(
      [MTLLanguageVersion.version1_1, .version2_4, .version3_0, .version3_2, .version4_0].map(\.rawValue),
      [0x10001, 0x20004, 0x30000, 0x30002, 0x40000])
    XCTAssertEqual([MTLMathMode.safe, .relaxed, .fast].map(\.rawValue), [0, 1, 2])
    XCTAssertEqual([MTLMathFloatingPointFunctions.fast, .precise].map(\.rawValue), [0, 1])
    XCTAssertEqual([MTLLibraryOptimizationLevel.default, .size].map(\.rawValue), [0, 1])
    XCTAssertEqual([MTLLibraryType.executable, .dynamic].map(\.rawValue), [0, 1])
    XCTAssertEqual([MTLCaptureDestination.developerTools, .gpuTraceDocument].map(\.rawValue), [1, 2])
    XCTAssertEqual([MTLBindingAccess.readOnly, .readWrite, .writeOnly].map(\.rawValue), [0, 1, 2])
  }

  func testDataTypeRawValues() {
    let scalars: [(MTLDataType, UInt)] = [
      (.float, 3), (.half, 16), (.int, 29), (.uint, 33), (.short, 37), (.ushort, 41), (.char, 45), (.uchar, 49),
      (.bool, 53), (.long, 81), (.ulong, 85), (.bfloat, 121),
    ]
    for (type, raw) in scalars { XCTAssertEqual(type.rawValue, raw, "\(type)") }
    let fours: [(MTLDataType, UInt)] = [
      (.float4, 6), (.half4, 19), (.int4, 32), (.uint4, 36), (.short4, 40), (.ushort4, 44), (.char4, 48), (.uchar4, 52),
      (.bool4, 56), (.long4, 84), (.ulong4, 88), (.bfloat4, 124), (.float4x4, 15), (.half4x4, 28), (.pointer, 60),
    ]
    for (type, raw) in fours { XCTAssertEqual(type.rawValue, raw, "\(type)") }
  }

  func testOptionSets() {
    XCTAssertEqual(MTLResourceOptions.storageModeShared.rawValue, 0)
    XCTAssertEqual(MTLResourceOptions.storageModeManaged.rawValue, 0x10)
    XCTAssertEqual(MTLResourceOptions.storageModePrivate.rawValue, 0x20)
    XCTAssertEqual(MTLResourceOptions.storageModeMemoryless.rawValue, 0x30)
    XCTAssertEqual(MTLResourceOptions.cpuCacheModeWriteCombined.rawValue, 1)
    XCTAssertEqual(MTLResourceOptions.hazardTrackingModeUntracked.rawValue, 0x100)
    XCTAssertEqual(MTLResourceOptions.hazardTrackingModeTracked.rawValue, 0x200)
    XCTAssertEqual([MTLBarrierScope.buffers, .textures, .renderTargets].map(\.rawValue), [1, 2, 4])
    XCTAssertEqual([MTLResourceUsage.read, .write, .sample].map(\.rawValue), [1, 2, 4])
    XCTAssertEqual(
      [MTLPipelineOption.bindingInfo, .bufferTypeInfo, .failOnBinaryArchiveMiss].map(\.rawValue), [1, 2, 4])
    XCTAssertEqual(MTLCommandBufferErrorOption.encoderExecutionStatus.rawValue, 1)
  }

  func testErrorsLookLikeNSErrors() throws {
    XCTAssertEqual(MTLLibraryError.compileFailure.rawValue, 3)
    XCTAssertEqual(MTLLibraryError.fileNotFound.rawValue, 6)
    XCTAssertEqual(MTLCommandBufferError.notPermitted.rawValue, 7)
    XCTAssertEqual(MTLCommandBufferError.stackOverflow.rawValue, 12)
    XCTAssertEqual(MTLCommandBufferError.errorDomain, "MTLCommandBufferErrorDomain")
    do {
      _ = try SoftMetalDevice().makeLibrary(source: "kernel void f() {", options: nil)
      XCTFail("nothing thrown")
    } catch MTLLibraryError.compileFailure {
      // The pattern itself is the test.
    }
    do {
      _ = try SoftMetalDevice().makeLibrary(source: "(", options: nil)
      XCTFail("nothing thrown")
    } catch {
      XCTAssertEqual((error as NSError).domain, MTLLibraryErrorDomain)
      XCTAssertEqual((error as NSError).code, 3)
      XCTAssertTrue("\(error)".hasPrefix("program_source:1:1: error:"), "\(error)")
    }
  }

  func testCaptureIsNotSupported() {
    let manager = MTLCaptureManager.shared()
    XCTAssertFalse(manager.supportsDestination(.developerTools))
    XCTAssertFalse(manager.isCapturing)
    XCTAssertThrowsError(try manager.startCapture(with: MTLCaptureDescriptor())) {
      XCTAssertEqual($0 as? MTLCaptureError, .notSupported)
    }
    manager.stopCapture()
  }

  func testResidencySet() throws {
    let test = try TestDevice()
    let descriptor = MTLResidencySetDescriptor()
    descriptor.label = "weights"
    descriptor.initialCapacity = 4
    let set = try test.device.makeResidencySet(descriptor: descriptor)
    XCTAssertEqual(set.label, "weights")
    let a = try XCTUnwrap(test.device.makeBuffer(length: 4096))
    let b = try XCTUnwrap(test.device.makeBuffer(length: 8192))
    set.addAllocations([a, b, a])
    XCTAssertEqual(set.allocationCount, 2)
    XCTAssertEqual(set.allocatedSize, 0)
    set.commit()
    XCTAssertEqual(set.allocatedSize, UInt64(a.allocatedSize + b.allocatedSize))
    XCTAssertTrue(set.containsAllocation(a))
    set.removeAllocation(a)
    XCTAssertFalse(set.containsAllocation(a))
    XCTAssertEqual(set.allAllocations.count, 1)
    set.requestResidency()
    set.endResidency()
    set.removeAllAllocations()
    set.commit()
    XCTAssertEqual(set.allocatedSize, 0)
    test.queue.addResidencySet(set)
    test.queue.removeResidencySets([set])

    let commands = try XCTUnwrap(test.queue.makeCommandBuffer())
    commands.useResidencySets(Array(repeating: set, count: 33))
    commands.commit()
    commands.waitUntilCompleted()
    assertError(commands, .internal, "at most 32", "got 33")

    let foreign = try SoftMetalDevice().makeResidencySet(descriptor: descriptor)
    let other = try XCTUnwrap(test.queue.makeCommandBuffer())
    other.useResidencySet(foreign)
    other.commit()
    other.waitUntilCompleted()
    assertError(other, .invalidResource, "another device")
  }
}
