import XCTest

@testable import FlashAttn

final class TuningTests: XCTestCase {
  func testVariablesAreRead() throws {
    let variables = ["PYFA_PROVIDER": "shader", "PYFA_AUTO_BARRIER": "0", "PYFA_SERIAL_DISPATCH": "1"]
    let tuning = try Tuning.read { variables[$0] }
    XCTAssertEqual(tuning.provider, .shader)
    XCTAssertFalse(tuning.automaticBarriers)
    XCTAssertTrue(tuning.serialDispatch)
    let prefill = ["PYFA_PREFILL_D512": "0", "PYFA_PREFILL_NSG": "4", "PYFA_PREFILL_BLK": "1"]
    let chosen = try Tuning.read { prefill[$0] }.prefill
    XCTAssertFalse(chosen.d512)
    XCTAssertEqual(chosen.nsg, 4)
    XCTAssertEqual(chosen.blk, .always)
    let untouched = try Tuning.read { _ in nil }
    XCTAssertEqual(untouched.provider, .native)
    XCTAssertTrue(untouched.automaticBarriers)
  }

  func testMalformedVariablesAreRefused() {
    for (name, value) in [
      ("PYFA_PROVIDER", "gpu"), ("PYFA_PROVIDER", "metal"), ("PYFA_PROFILE", "yes"), ("PYFA_PREFILL_D512", "on"),
      ("PYFA_PREFILL_NSG", "6"), ("PYFA_PREFILL_NSG", "many"), ("PYFA_PREFILL_BLK", "never"),
    ] {
      let error = thrown { _ = try Tuning.read { $0 == name ? value : nil } }
      XCTAssertEqual(error.argument, name)
      XCTAssertTrue(error.message.hasSuffix("got \(value)"), error.message)
    }
  }
}
