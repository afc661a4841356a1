/// Every name that a translation takes from the device library, besides Metal's own. `softmetal_device.h` explains them.
enum DeviceNames {
  static let header = "softmetal_device.h"
  /// What a translation for the probe of address spaces takes instead, with the few of these names that it needs.
  static let probeHeader = "softmetal_probe.h"
  /// `SM_KERNEL("host name", most threads, k) { call }`: the module's entry.
  static let entry = "SM_KERNEL"
  /// In front of a function that is a kernel.
  static let kernelFunction = "SM_KERNEL_FUNCTION"
  /// What an entry gets; it has a function for each kind of argument and each built-in input.
  static let arguments = "sm_arguments"
  /// Converts to any reference.
  static let reference = "sm_reference"
  /// `sm_threadgroup<T, number>()` is a `T &` in the threadgroup's memory.
  static let threadgroupVariable = "sm_threadgroup"
  /// The threads of a simdgroup meet; nothing unless compiled in lockstep.
  static let lock = "SM_LOCK()"
  /// simdgroup_load where the threads of a simdgroup meet first, if it is from threadgroup memory.
  static let matrixStep = "sm_step_load"
  /// static_cast, also between half and bfloat.
  static let cast = "sm_static_cast"
  /// `v.template sm_get<2, 1, 0>()` reads the swizzle zyx; `sm_set` is the same to assign to.
  static let getSwizzle = "sm_get"
  static let setSwizzle = "sm_set"
  /// Names of the library and of the translation itself begin like this; a shader cannot have them.
  static let prefixes = ["sm_", "SM_"]
}
