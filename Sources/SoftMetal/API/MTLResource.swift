public protocol MTLAllocation: AnyObject {
  /// Bytes of memory it takes.
  var allocatedSize: Int { get }
}

/// Memory that kernels use. Not to be used from two threads at once.
public protocol MTLResource: MTLAllocation {
  var label: String? { get set }
  var device: any MTLDevice { get }
  var cpuCacheMode: MTLCPUCacheMode { get }
  var storageMode: MTLStorageMode { get }
  var hazardTrackingMode: MTLHazardTrackingMode { get }
  var resourceOptions: MTLResourceOptions { get }
  /// Returns the state before the call.
  @discardableResult func setPurgeableState(_ state: MTLPurgeableState) -> MTLPurgeableState
}

public protocol MTLBuffer: MTLResource {
  /// Bytes.
  var length: Int { get }
  /// The memory itself. On a GPU private storage has none to show, so do not ask for it.
  func contents() -> UnsafeMutableRawPointer
  /// Tells the device that the CPU wrote here; needed for managed storage on a GPU alone.
  func didModifyRange(_ range: Range<Int>)
  func addDebugMarker(_ marker: String, range: Range<Int>)
  func removeAllDebugMarkers()
  var gpuAddress: UInt64 { get }
}

public protocol MTLFence: AnyObject, Sendable {
  var device: any MTLDevice { get }
  var label: String? { get set }
}

open class MTLResidencySetDescriptor {
  public var label: String?
  public var initialCapacity = 0
  public init() {}
}

/// A set of allocations that are to stay in memory. Additions and removals count from the next `commit()` on.
public protocol MTLResidencySet: AnyObject {
  var device: any MTLDevice { get }
  var label: String? { get }
  /// Bytes, as of the last commit.
  var allocatedSize: UInt64 { get }
  var allocationCount: Int { get }
  var allAllocations: [any MTLAllocation] { get }
  func requestResidency()
  func endResidency()
  func addAllocation(_ allocation: any MTLAllocation)
  func addAllocations(_ allocations: [any MTLAllocation])
  func removeAllocation(_ allocation: any MTLAllocation)
  func removeAllocations(_ allocations: [any MTLAllocation])
  func removeAllAllocations()
  func containsAllocation(_ anAllocation: any MTLAllocation) -> Bool
  func commit()
}
