import CSoftMetal

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

// What the cache keeps of a source that was read, so that a program that knows its kernels needs not read it again.

/// The functions of a library, and the constants that each can reach.
struct LibraryFacts: Equatable {
  struct Constant: Equatable {
    let name: String
    let type: MTLDataType
    let index: Int
    let required: Bool
  }
  struct Function: Equatable {
    let name: String
    /// By rising index.
    let constants: [Constant]
  }
  let functions: [Function]

  init(functions: [Function]) { self.functions = functions }

  init(_ module: ShaderModule) {
    functions = module.functions.map { function in
      let constants = module.constants(usedBy: function.name).map { constant, required in
        Constant(name: constant.name, type: constant.type, index: constant.index, required: required)
      }
      return Function(name: function.name, constants: constants)
    }
  }

  init?(_ bytes: [UInt8]) {
    var reader = FactReader(bytes)
    let functions = reader.list { reader -> Function? in
      guard let name = reader.text(),
        let constants = reader.list({ reader -> Constant? in
          guard let name = reader.text(), let raw = reader.number(), let index = reader.number(),
            let required = reader.number(), let type = MTLDataType(rawValue: UInt(bitPattern: raw))
          else { return nil }
          return Constant(name: name, type: type, index: index, required: required != 0)
        })
      else { return nil }
      return Function(name: name, constants: constants)
    }
    guard let functions, reader.isAtEnd else { return nil }
    self.functions = functions
  }

  var bytes: [UInt8] {
    var writer = FactWriter()
    writer.list(functions) { writer, function in
      writer.text(function.name)
      writer.list(function.constants) { writer, constant in
        writer.text(constant.name)
        writer.number(Int(bitPattern: constant.type.rawValue))
        writer.number(constant.index)
        writer.number(constant.required ? 1 : 0)
      }
    }
    return writer.bytes
  }
}

/// A kernel under the values of its constants: the file it was compiled to, and what it takes.
struct KernelFacts: Equatable {
  let file: String
  let arguments: [KernelArgument]
  let threadgroupSlots: [Int]

  init(file: String, arguments: [KernelArgument], threadgroupSlots: [Int]) {
    self.file = file
    self.arguments = arguments
    self.threadgroupSlots = threadgroupSlots
  }

  init?(_ bytes: [UInt8]) {
    var reader = FactReader(bytes)
    guard let file = reader.text(),
      let arguments = reader.list({ reader -> KernelArgument? in
        guard let name = reader.text(), let slot = reader.number(), let written = reader.number(),
          let least = reader.number(), let guarded = reader.number()
        else { return nil }
        return KernelArgument(
          name: name, slot: slot, isWritten: written != 0, minBytes: UInt64(bitPattern: Int64(least)),
          guardConstant: guarded < 0 ? nil : guarded)
      }),
      let slots = reader.list({ $0.number() }), reader.isAtEnd
    else { return nil }
    self.init(file: file, arguments: arguments, threadgroupSlots: slots)
  }

  var bytes: [UInt8] {
    var writer = FactWriter()
    writer.text(file)
    writer.list(arguments) { writer, argument in
      writer.text(argument.name)
      writer.number(argument.slot)
      writer.number(argument.isWritten ? 1 : 0)
      writer.number(Int(Int64(bitPattern: argument.minBytes)))
      writer.number(argument.guardConstant ?? -1)
    }
    writer.list(threadgroupSlots) { $0.number($1) }
    return writer.bytes
  }
}

/// What reads sources, as the file system knows it: another build of it may read them another way, and brings another
/// device library.
enum FrontEnd {
  static let identity: [String] = {
    // Unknown, it might be any, so nothing is to be found again by another process.
    guard let image = sm_shader_image() else { return ["process \(getpid())", "\(sm_now())"] }
    return Compiler.fingerprint([String(cString: image)])
  }()
}

/// Numbers as eight bytes, lengths before texts and lists.
private struct FactWriter {
  private(set) var bytes: [UInt8] = []

  mutating func number(_ value: Int) { withUnsafeBytes(of: Int64(value).littleEndian) { bytes.append(contentsOf: $0) } }

  mutating func text(_ value: String) {
    number(value.utf8.count)
    bytes.append(contentsOf: value.utf8)
  }

  mutating func list<Element>(_ elements: [Element], _ write: (inout FactWriter, Element) -> Void) {
    number(elements.count)
    for element in elements { write(&self, element) }
  }
}

/// Nil for whatever is not there.
private struct FactReader {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: [UInt8]) { rest = bytes[...] }

  var isAtEnd: Bool { rest.isEmpty }

  mutating func number() -> Int? {
    guard rest.count >= 8 else { return nil }
    defer { rest.removeFirst(8) }
    return Int(rest.withUnsafeBytes { Int64(littleEndian: $0.loadUnaligned(as: Int64.self)) })
  }

  mutating func text() -> String? {
    guard let count = number(), (0...rest.count).contains(count) else { return nil }
    defer { rest.removeFirst(count) }
    return String(decoding: rest.prefix(count), as: UTF8.self)
  }

  mutating func list<Element>(_ read: (inout FactReader) -> Element?) -> [Element]? {
    // Everything takes a byte at least.
    guard let count = number(), (0...rest.count).contains(count) else { return nil }
    var elements: [Element] = []
    for _ in 0..<count {
      guard let element = read(&self) else { return nil }
      elements.append(element)
    }
    return elements
  }
}
