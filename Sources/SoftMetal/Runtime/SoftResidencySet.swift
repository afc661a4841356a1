/// Bookkeeping: everything is resident in the CPU's memory.
final class SoftResidencySet: MTLResidencySet {
  let softDevice: SoftMetalDevice
  let label: String?
  private var members: [ObjectIdentifier: any MTLAllocation] = [:]
  private(set) var allocatedSize: UInt64 = 0

  init(device: SoftMetalDevice, label: String?, capacity: Int) {
    softDevice = device
    self.label = label
    members.reserveCapacity(min(max(capacity, 0), 1 << 16))
  }

  var device: any MTLDevice { softDevice }
  var allocationCount: Int { members.count }
  var allAllocations: [any MTLAllocation] { Array(members.values) }

  func requestResidency() {}
  func endResidency() {}

  func addAllocation(_ allocation: any MTLAllocation) { members[ObjectIdentifier(allocation)] = allocation }
  func addAllocations(_ allocations: [any MTLAllocation]) { allocations.forEach(addAllocation) }
  func removeAllocation(_ allocation: any MTLAllocation) { members[ObjectIdentifier(allocation)] = nil }
  func removeAllocations(_ allocations: [any MTLAllocation]) { allocations.forEach(removeAllocation) }
  func removeAllAllocations() { members = [:] }
  func containsAllocation(_ anAllocation: any MTLAllocation) -> Bool { members[ObjectIdentifier(anAllocation)] != nil }

  func commit() { allocatedSize = members.values.reduce(0) { $0 + UInt64($1.allocatedSize) } }
}
