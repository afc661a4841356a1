import CSoftMetal
import XCTest

/// Bytes in little-endian order.
private struct Writer {
  var bytes: [UInt8] = []

  mutating func u8(_ values: Int...) { bytes += values.map { UInt8(truncatingIfNeeded: $0) } }
  mutating func u16(_ value: Int) { u8(value, value >> 8) }
  mutating func u32(_ value: Int) { u16(value); u16(value >> 16) }
  mutating func u64(_ value: Int) { u32(value); u32(value >> 32) }
  mutating func text(_ text: String) { bytes += Array(text.utf8) + [0] }
}

/// A unit whose length comes first.
private func sized(_ body: (inout Writer) -> Void) -> [UInt8] {
  var inner = Writer()
  body(&inner)
  var outer = Writer()
  outer.u32(inner.bytes.count)
  return outer.bytes + inner.bytes
}

/// Code at 0x1000 ..< 0x1040: line 7 of program_source, with a function of sm_simd.h inlined at 0x1010 ..< 0x1020 that
/// line 8 calls.
private struct Example {
  let version: Int

  private var lines: [UInt8] {
    sized { w in
      w.u16(version)
      if version == 5 { w.u8(8, 0) }
      var tables = Writer()
      tables.u8(1, 1, 1, 0xfb, 14, 10, 0, 1, 1, 1, 1, 0, 0, 0, 1)  // lines -5 … 8, opcodes from 10
      if version == 5 {
        tables.u8(1, 1, 8, 1)  // directories: paths in place
        tables.text("/shader")
        tables.u8(2, 1, 8, 2, 11, 2)  // files: paths in place and numbers of directories
        tables.text("program_source")
        tables.u8(0)
        tables.text("sm_simd.h")
        tables.u8(0)
      } else {
        tables.u8(0)
        for name in ["program_source", "sm_simd.h"] {
          tables.text(name)
          tables.u8(0, 0, 0)
        }
        tables.u8(0)
      }
      w.u32(tables.bytes.count)
      w.bytes += tables.bytes
      let (source, library) = version == 5 ? (0, 1) : (1, 2)
      w.u8(0, 9, 2)  // address
      w.u64(0x1000)
      w.u8(4, source, 3, 6, 1)  // file; line 7; row
      w.u8(4, library, 3, 0xdd, 0, 2, 16, 1)  // line 100, 16 bytes on
      w.u8(4, source, 3, 0xa4, 0x7f, 2, 16, 1)  // line 8
      w.u8(2, 32, 0, 1, 1)  // the end
    }
  }

  private var abbreviations: [UInt8] {
    var w = Writer()
    w.u8(1, 0x11, 1, 0x10, 0x17, 0x11, 1, 0, 0)  // unit: line table, address
    w.u8(2, 0x1d, 0, 0x11, 1, 0x12, 6, 0x58, 11, 0x59, 15, 0, 0)  // inlined: from, bytes, file and line of the call
    w.u8(0)
    return w.bytes
  }

  private var info: [UInt8] {
    sized { w in
      w.u16(version)
      if version == 5 {
        w.u8(1, 8)
        w.u32(0)
      } else {
        w.u32(0)
        w.u8(8)
      }
      w.u8(1)
      w.u32(0)
      w.u64(0x1000)
      w.u8(2)
      w.u64(0x1010)
      w.u32(0x10)
      w.u8(version == 5 ? 0 : 1, 8)
      w.u8(0)
    }
  }

  var object: [UInt8] {
    let sections: [(String, [UInt8])] = [
      ("", []), (".debug_line", lines), (".debug_abbrev", abbreviations), (".debug_info", info), (".shstrtab", []),
    ]
    var names = Writer()
    var contents = Writer()
    var headers = Writer()
    for (name, bytes) in sections {
      let last = name == ".shstrtab"
      let offset = 64 + contents.bytes.count
      headers.u32(names.bytes.count)
      names.text(name)
      contents.bytes += last ? names.bytes : bytes
      headers.u32(1)
      for value in [0, 0, offset, last ? names.bytes.count : bytes.count, 0, 1, 0] { headers.u64(value) }
    }
    var elf = Writer()
    elf.u8(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0)
    elf.u64(0)
    elf.u16(3)
    elf.u16(62)
    elf.u32(1)
    elf.u64(0)
    elf.u64(0)
    elf.u64(64 + contents.bytes.count)
    elf.u32(0)
    for value in [64, 0, 0, 64, sections.count, sections.count - 1] { elf.u16(value) }
    return elf.bytes + contents.bytes + headers.bytes
  }
}

private func frames(_ object: [UInt8], _ address: UInt64) -> [String] {
  var text = [CChar](repeating: 0, count: 1 << 16)
  let bytes = sm_source_lines(object, UInt64(object.count), address, &text, UInt64(text.count))
  XCTAssertGreaterThan(bytes, 0)
  let known = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
  return String(decoding: known, as: UTF8.self).split(separator: "\n").map(String.init)
}

final class SourceLineTests: XCTestCase {
  func testLinesAndInlinedCalls() {
    for version in [4, 5] {
      let object = Example(version: version).object
      XCTAssertEqual(frames(object, 0xfff), [])
      XCTAssertEqual(frames(object, 0x1000), ["program_source:7"])
      XCTAssertEqual(frames(object, 0x100f), ["program_source:7"])
      XCTAssertEqual(frames(object, 0x1010), ["sm_simd.h:100", "program_source:8"])
      XCTAssertEqual(frames(object, 0x101f), ["sm_simd.h:100", "program_source:8"])
      XCTAssertEqual(frames(object, 0x1020), ["program_source:8"])
      XCTAssertEqual(frames(object, 0x1040), [])
    }
  }

  func testTextIsCutOff() {
    let object = Example(version: 5).object
    var text = [CChar](repeating: 1, count: 8)
    XCTAssertEqual(sm_source_lines(object, UInt64(object.count), 0x1000, &text, 8), 17)
    XCTAssertEqual(text.map { UInt8(bitPattern: $0) }, Array("program".utf8) + [0])
    XCTAssertEqual(sm_source_lines(object, UInt64(object.count), 0x1000, nil, 0), 17)
  }

  /// Nothing is read beyond the end, nothing goes on forever; what comes out is of no interest.
  func testDamagedTables() {
    for version in [4, 5] {
      let object = Example(version: version).object
      for count in 0..<object.count { _ = frames(Array(object.prefix(count)), 0x1010) }
      for index in object.indices {
        for value: UInt8 in [0, 1, 0x7f, 0x80, 0xff] {
          var damaged = object
          damaged[index] = value
          _ = frames(damaged, 0x1010)
        }
      }
    }
  }
}
