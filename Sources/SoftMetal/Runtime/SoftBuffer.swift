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
  /// In checks, of private storage: a byte for each byte, not 0 once a command has written it. Nil where the CPU may have
  /// written, too: nobody saw it.
  let written: UnsafeMutablePointer<UInt8>?
  private let writtenReserved: UInt64
  private let memory: Memory
  private var purgeableState = MTLPurgeableState.nonVolatile

  /// Nil if memory is short.
  init?(device: SoftMetalDevice, length: Int, options: MTLResourceOptions) {
    var reserved: UInt64 = 0
    guard let base = sm_memory_allocate(UInt64(length), &reserved) else { return nil }
    var writtenReserved: UInt64 = 0
    if options.storageMode == .private, device.options.checks {
      guard let bytes = sm_memory_allocate(UInt64(length), &writtenReserved) else {
        sm_memory_free(base, reserved)
        return nil
      }
      written = bytes.assumingMemoryBound(to: UInt8.self)
    } else {
      written = nil
    }
    self.writtenReserved = writtenReserved
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
    written = nil
    writtenReserved = 0
    softDevice = device
    self.base = base
    self.length = length
    resourceOptions = options
    memory = .foreign(deallocator: deallocator)
  }

  deinit {
    if let written { sm_memory_free(written, writtenReserved) }
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

  func contents() -> UnsafeMutableRawPointer {
    written?.update(repeating: 1, count: length)
    return base
  }

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
