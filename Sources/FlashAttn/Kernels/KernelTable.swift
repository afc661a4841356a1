/// Every kernel family. A new room is one line here.
enum KernelTable {
  static let rooms: [Room] = [
    Room(FlashAttnPrefill.spec),
    Room(FlashAttnPrefillD512.spec),
    Room(FlashAttnPrefillBlk.spec),
    Room(FlashAttnPrefillMask.spec),
  ]

  /// A spec without its problem's type.
  struct Room: Sendable {
    let name: String
    /// Host names of the variants.
    let kernels: [String]
    let manifest: JSON

    init<Problem>(_ spec: KernelSpec<Problem>) {
      name = spec.name
      kernels = spec.variants.map(\.kernel)
      manifest = spec.manifest
    }
  }
}
