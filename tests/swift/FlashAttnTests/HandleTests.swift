import CFlashAttn
import FlashAttnABI
import XCTest

/// The C interface, called as C calls it.
final class HandleTests: XCTestCase {
  private var device: OpaquePointer?

  override func setUp() { XCTAssertEqual(fa_device_create(FA_PROVIDER_NATIVE, &device), FA_OK) }

  override func tearDown() { XCTAssertEqual(fa_device_release(device), FA_OK) }

  private var lastError: String { String(cString: fa_last_error()) }

  private func makeBuffer() -> OpaquePointer? {
    var buffer: OpaquePointer?
    XCTAssertEqual(fa_buffer_create(device, FA_F32, [4], 1, &buffer), FA_OK)
    return buffer
  }

  func testNullReleasedAndForeignHandlesAreRefused() {
    let buffer = makeBuffer()
    var info = fa_buffer_info()
    XCTAssertEqual(fa_buffer_get_info(nil, &info), FA_INVALID_ARGUMENT)
    XCTAssertEqual(lastError, "buffer_get_info: buffer: expected a live fa_buffer handle, got null")
    XCTAssertEqual(fa_buffer_get_info(device, &info), FA_INVALID_ARGUMENT)
    XCTAssertEqual(lastError, "buffer_get_info: buffer: expected a live fa_buffer handle, got a handle of device")
    XCTAssertEqual(fa_buffer_get_info(OpaquePointer(bitPattern: 0xDEAD_BEEF), &info), FA_INVALID_ARGUMENT)
    XCTAssertEqual(fa_buffer_release(buffer), FA_OK)
    XCTAssertEqual(fa_buffer_get_info(buffer, &info), FA_INVALID_ARGUMENT)
    XCTAssertEqual(lastError, "buffer_get_info: buffer: expected a live fa_buffer handle, got a released one")
    XCTAssertEqual(fa_buffer_release(buffer), FA_INVALID_ARGUMENT)
    XCTAssertEqual(String(cString: fa_last_error_operation()), "buffer_release")
    XCTAssertEqual(String(cString: fa_last_error_argument()), "buffer")
  }

  func testAReleasedHandleStaysDeadWhenItsSlotIsReused() {
    let first = makeBuffer()
    XCTAssertEqual(fa_buffer_release(first), FA_OK)
    let second = makeBuffer()
    XCTAssertNotEqual(first, second)
    XCTAssertEqual(fa_buffer_fill(first, 1), FA_INVALID_ARGUMENT)
    XCTAssertEqual(fa_buffer_fill(second, 1), FA_OK)
    XCTAssertEqual(fa_buffer_release(second), FA_OK)
  }

  func testAHandleDressedAsAnotherKindIsRefused() {
    let buffer = makeBuffer()
    let asDevice = OpaquePointer(bitPattern: UInt(bitPattern: buffer) ^ 0x30)
    XCTAssertEqual(fa_device_retain(asDevice), FA_INVALID_ARGUMENT)
    XCTAssertEqual(fa_device_release(asDevice), FA_INVALID_ARGUMENT)
    var registry: OpaquePointer?
    XCTAssertEqual(fa_device_get_registry(asDevice, &registry), FA_INVALID_ARGUMENT)
    XCTAssertEqual(fa_buffer_fill(buffer, 1), FA_OK)
    XCTAssertEqual(fa_buffer_release(buffer), FA_OK)
  }

  func testReferencesAreCounted() {
    let buffer = makeBuffer()
    XCTAssertEqual(fa_buffer_retain(buffer), FA_OK)
    XCTAssertEqual(fa_buffer_release(buffer), FA_OK)
    XCTAssertEqual(fa_buffer_fill(buffer, 1), FA_OK)
    XCTAssertEqual(fa_buffer_release(buffer), FA_OK)
    XCTAssertEqual(fa_buffer_fill(buffer, 1), FA_INVALID_ARGUMENT)
  }

  func testNullPointersAreRefused() {
    XCTAssertEqual(fa_device_create(FA_PROVIDER_DEFAULT, nil), FA_INVALID_ARGUMENT)
    XCTAssertEqual(fa_buffer_create(device, FA_F32, nil, 1, nil), FA_INVALID_ARGUMENT)
    XCTAssertEqual(lastError, "buffer_create: shape: expected a pointer, got null")
    XCTAssertEqual(fa_attention(device, nil), FA_INVALID_ARGUMENT)
    XCTAssertEqual(fa_registry_register(device, nil, nil), FA_INVALID_ARGUMENT)
    XCTAssertEqual(fa_counters_get(nil), FA_INVALID_ARGUMENT)
    XCTAssertEqual(fa_buffer_wrap(device, nil, 8, FA_F32, [1], 1, 0, nil), FA_INVALID_ARGUMENT)
  }

  func testValuesOutsideTheirEnumsAreRefused() {
    var out: OpaquePointer?
    XCTAssertEqual(fa_device_create(fa_provider(rawValue: 9), &out), FA_INVALID_ARGUMENT)
    XCTAssertEqual(fa_buffer_create(device, fa_dtype(rawValue: 99), [1], 1, &out), FA_INVALID_ARGUMENT)
    XCTAssertEqual(fa_buffer_create(device, FA_F32, [1], 9, &out), FA_INVALID_ARGUMENT)
    XCTAssertEqual(fa_buffer_create(device, FA_F32, [1], -1, &out), FA_INVALID_ARGUMENT)
    XCTAssertNil(out)
    XCTAssertEqual(fa_sizeof(fa_struct_kind(rawValue: 77)), 0)
  }

  func testLastErrorBelongsToItsThread() {
    XCTAssertEqual(fa_buffer_release(nil), FA_INVALID_ARGUMENT)
    let mine = lastError
    let thread = Thread {
      _ = fa_encoder_commit(nil)
    }
    thread.start()
    while !thread.isFinished { usleep(100) }
    XCTAssertEqual(lastError, mine)
  }
}
