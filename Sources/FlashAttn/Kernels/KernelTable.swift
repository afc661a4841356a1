/// Every kernel family. A new room is one line here.
enum KernelTable {
  static let rooms: [Room] = [
    Room(FlashAttnPrefill.spec),
    Room(FlashAttnPrefillD512.spec),
    Room(FlashAttnPrefillBlk.spec),
    Room(FlashAttnPrefillMask.spec),
    Room(FwhtStandalone.spec),
    Room(KvEncode.spec),
    Room(KvDecode.spec),
    Room(HadamardQuantizeKv.fast),
    Room(HadamardQuantizeKv.hb),
    Room(TqDequantizeKv.nibbles),
    Room(TqDequantizeKv.hb),
    Room(FlashAttnDecode.spec),
    Room(FlashAttnDecode.merge),
    Room(FlashAttnVec.spec),
    Room(FlashAttnVecPeerPortF16.spec),
    Room(FlashAttnVecPeerPortF16.reduce),
    Room(FlashAttnVecTq.spec),
    Room(FlashAttnVecTqHb.spec),
    Room(FlashAttnVecReduce.spec),
    Room(FlashAttnVecReduce.undo),
  ]

  /// Host names of the kernels in each shader file.
  static let shaders: [(name: String, kernels: [String])] = rooms.reduce(into: []) { shaders, room in
    if let known = shaders.firstIndex(where: { $0.name == room.shader }) {
      shaders[known].kernels += room.kernels
    } else {
      shaders.append((room.shader, room.kernels))
    }
  }

  /// A spec without its problem's type.
  struct Room: Sendable {
    let name: String
    let shader: String
    /// Host names of the variants.
    let kernels: [String]
    let manifest: JSON

    init<Problem>(_ spec: KernelSpec<Problem>) {
      name = spec.name
      shader = spec.shader
      kernels = spec.variants.map(\.kernel)
      manifest = spec.manifest
    }
  }
}
