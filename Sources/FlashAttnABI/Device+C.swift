import CFlashAttn
import FlashAttn

/// A device and the strings lent out with its description.
final class DeviceHandle: HandleObject {
  static var kind: HandleKind { .device }

  let device: Device
  let name: ConstantText
  let backend: ConstantText
  let provider: ConstantText
  let isa: ConstantText

  init(_ device: Device) {
    self.device = device
    name = ConstantText(device.name)
    backend = ConstantText(Device.backend)
    provider = ConstantText(device.provider.rawValue)
    isa = ConstantText(device.provider == .native ? Device.instructionSet : "")
  }
}

func device(_ handle: OpaquePointer?, _ operation: String) throws(FAError) -> Device {
  try Handles.get(handle, as: DeviceHandle.self, operation, "device").device
}

@c @implementation
public func fa_device_create(_ provider: fa_provider, _ out: UnsafeMutablePointer<OpaquePointer?>!) -> fa_status {
  call { () throws(FAError) in
    var tuning = try Tuning.environment.get()
    switch provider {
    case FA_PROVIDER_DEFAULT: break
    case FA_PROVIDER_NATIVE: tuning.provider = .native
    case FA_PROVIDER_SHADER: tuning.provider = .shader
    default: throw .refused("device_create", "provider", expected: "0 to 2", got: "\(provider.rawValue)")
    }
    try store(handleOf: { () throws(FAError) in DeviceHandle(try Device(tuning: tuning)) }, out, "device_create")
  }
}

@c @implementation
public func fa_device_create_with_metal(
  _ mtl_device: UnsafeMutableRawPointer!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> fa_status {
  call { () throws(FAError) in
    let metal = try metalObject(mtl_device, as: (any MTLDevice).self, "device_create_with_metal", "mtl_device")
    let tuning = try Tuning.environment.get()
    try store(
      handleOf: { () throws(FAError) in DeviceHandle(try Device(metal: metal, tuning: tuning)) }, out,
      "device_create_with_metal")
  }
}

/// The Metal object behind a pointer that C code holds, without taking ownership.
func metalObject<Object>(
  _ pointer: UnsafeMutableRawPointer?, as type: Object.Type, _ operation: String, _ argument: String
) throws(FAError) -> Object {
  guard let pointer else { throw .null(operation, argument) }
  #if canImport(Metal)
    let object: AnyObject = Unmanaged<AnyObject>.fromOpaque(pointer).takeUnretainedValue()
    guard let object = object as? Object else {
      throw .refused(operation, argument, expected: "\(type)", got: "another object")
    }
    return object
  #else
    // There are no Objective-C objects here that C code could hold.
    throw FAError(.unsupported, operation, argument, "Metal objects can be adopted on a Mac only, got \(pointer)")
  #endif
}

@c @implementation
public func fa_device_retain(_ device: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try Handles.retain(device, .device, "device_retain") }
}

@c @implementation
public func fa_device_release(_ device: OpaquePointer!) -> fa_status {
  call { () throws(FAError) in try Handles.release(device, .device, "device_release") }
}

@c @implementation
public func fa_device_get_info(_ device: OpaquePointer!, _ out: UnsafeMutablePointer<fa_device_info>!) -> fa_status {
  call { () throws(FAError) in
    let handle = try Handles.get(device, as: DeviceHandle.self, "device_get_info", "device")
    let metal = handle.device.metal
    try store(
      fa_device_info(
        name: handle.name.pointer, backend: handle.backend.pointer, provider: handle.provider.pointer,
        isa: handle.isa.pointer, max_buffer_bytes: UInt64(metal.maxBufferLength),
        max_threadgroup_bytes: UInt64(metal.maxThreadgroupMemoryLength),
        working_set_bytes: metal.recommendedMaxWorkingSetSize,
        allocated_bytes: UInt64(metal.currentAllocatedSize),
        max_threads_per_threadgroup: UInt32(metal.maxThreadsPerThreadgroup.width),
        page_bytes: UInt32(Device.pageBytes), unified_memory: metal.hasUnifiedMemory ? 1 : 0,
        residency_sets: handle.device.keepsResident ? 1 : 0), out, "device_get_info")
  }
}

@c @implementation
public func fa_device_get_registry(
  _ device: OpaquePointer!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> fa_status {
  call { () throws(FAError) in
    let device = try FlashAttnABI.device(device, "device_get_registry")
    try store(handleOf: { device.registry }, out, "device_get_registry")
  }
}
