/// The library's version, in one place.
public enum Library {
  public static let version = "0.1.0"

  /// Every kernel family as JSON: host names, slots, constants, tiles.
  public static let manifest = JSON.object([
    ("version", .string(version)), ("rooms", .array(KernelTable.rooms.map(\.manifest))),
  ]).text
}

extension KernelSpec {
  /// The spec as JSON: the one list of what there is, for documentation, tests and other languages.
  var manifest: JSON {
    .object([
      ("name", .string(name)),
      ("shader", .string("\(name).metal")),
      ("variants", .array(variants.map(\.manifest))),
      ("operands", .array(operands.map(\.manifest))),
      ("blocks", .array(blocks.map(\.manifest))),
      ("constants", .array(constants.map { .object([("index", .int($0.index)), ("name", .string($0.name))]) })),
    ])
  }
}

extension Variant {
  fileprivate var manifest: JSON {
    .object([
      ("kernel", .string(kernel)), ("dtype", .string("\(dtype)")), ("head_dim", headDim.map { .int($0) } ?? .null),
      ("mask", mask.map { .string($0.rawValue) } ?? .null), ("tile", tile?.json ?? .null),
    ])
  }
}

extension Tile {
  var json: JSON { .object([("BQ", .int(BQ)), ("BK", .int(BK)), ("threads", .sizes(threads))]) }
}

extension Operand {
  fileprivate var manifest: JSON {
    .object([
      ("slot", .int(slot)), ("name", .string(name)), ("access", .string(access.writes ? "write" : "read")),
      ("shape", .array(shape.map { .string($0.rawValue) })), ("dtype", .string(dtype.text)),
      ("when", guardConstant.map { .int($0) } ?? .string("always")),
    ])
  }
}

extension ParamBlock {
  fileprivate var manifest: JSON {
    .object([
      ("slot", .int(slot)), ("name", .string(name)), ("type", .string(type)), ("bytes", .int(byteCount)),
      ("constant", guardConstant.map { .int($0) } ?? .null),
    ])
  }
}
