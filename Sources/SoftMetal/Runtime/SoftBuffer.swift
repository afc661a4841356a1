import CSoftMetal

/// A buffer of SoftMetal. Its memory never moves.
final class SoftBuffer: MTLBuffer, @unchecked Sendable {
  private enum Memory {
    case own(reserved: UInt64)
    case foreign(deallocator: (@Sendable (UnsafeMutableRawPointer, Int) -> Void)?)
  }

  let softDevice: SoftMetalDevice
  let base: UnsafeMutableRawPointer
  let length: Int
  let resourceOptions: MTLResourceOptions
  var label: String?
  private let memory: Memory
  private var purgeableState = MTLPurgeableState.nonVolatile

  /// Nil if memory is short.
  init?(device: SoftMetalDevice, length: Int, options: MTLResourceOptions) {
    var reserved: UInt64 = 0
    guard let base = sm_memory_allocate(UInt64(length), &reserved) else { return nil }
    softDevice = device
    self.base = base
    self.length = length
    resourceOptions = options
    memory = .own(reserved: reserved)
    device.countAllocated(Int(reserved))
  }

  init(
    device: SoftMetalDevice, foreign base: UnsafeMutableRawPointer, length: Int, options: MTLResourceOptions,
    deallocator: (@Sendable (UnsafeMutableRawPointer, Int) -> Void)?
  ) {
    softDevice = device
    self.base = base
    self.length = length
    resourceOptions = options
    memory = .foreign(deallocator: deallocator)
  }

  deinit {
    switch memory {
    case .own(let reserved):
      sm_memory_free(base, reserved)
      softDevice.countAllocated(-Int(reserved))
    case .foreign(let deallocator):
      deallocator?(base, length)
    }
  }

  var device: any MTLDevice { softDevice }
  var allocatedSize: Int {
    switch memory {
    case .own(let reserved): Int(reserved)
    case .foreign: length
    }
  }
  var gpuAddress: UInt64 { UInt64(UInt(bitPattern: base)) }
  func contents() -> UnsafeMutableRawPointer { base }

  var cpuCacheMode: MTLCPUCacheMode { resourceOptions.cpuCacheMode }
  var storageMode: MTLStorageMode { resourceOptions.storageMode }
  var hazardTrackingMode: MTLHazardTrackingMode { resourceOptions.hazardTrackingMode }

  /// Contents are kept in every state, as Metal allows.
  @discardableResult
  func setPurgeableState(_ state: MTLPurgeableState) -> MTLPurgeableState {
    let before = purgeableState
    if state != .keepCurrent { purgeableState = state }
    return before
  }

  // CPU and "GPU" are the same processor, and there is no debugger to show markers.
  func didModifyRange(_ range: Range<Int>) {}
  func addDebugMarker(_ marker: String, range: Range<Int>) {}
  func removeAllDebugMarkers() {}
}

extension MTLResourceOptions {
  // A field may hold a number that no mode has; it then counts as the default.
  var cpuCacheMode: MTLCPUCacheMode { MTLCPUCacheMode(rawValue: rawValue & 0xf) ?? .defaultCache }
  var storageMode: MTLStorageMode { MTLStorageMode(rawValue: (rawValue & 0xf0) >> 4) ?? .shared }
  var hazardTrackingMode: MTLHazardTrackingMode { MTLHazardTrackingMode(rawValue: (rawValue & 0x300) >> 8) ?? .default }
}
