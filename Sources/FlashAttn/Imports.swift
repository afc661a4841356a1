// The one place that chooses the Metal module: Apple's where there is one, SoftMetal elsewhere.

@_exported import CFlashAttn

#if canImport(Metal)
  @_exported import Metal
#else
  @_exported import SoftMetal
#endif

#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#endif

/// The text a Metal error carries for people.
func describe(_ error: any Error) -> String {
  #if os(macOS)
    return error.localizedDescription
  #else
    return "\(error)"
  #endif
}

/// Whether a command buffer's error is a finding of SoftMetal's checks.
func isShaderFinding(_ error: (any Error)?) -> Bool {
  #if canImport(Metal)
    false
  #else
    (error as? MTLCommandBufferError)?.isShaderFinding ?? false
  #endif
}

/// The code for why Metal made no library, function or pipeline.
func failureCode(_ error: any Error) -> FAError.Code {
  switch (error as? MTLLibraryError)?.code {
  case .unsupported: .unsupported
  case .functionNotFound: .kernelNotFound
  case .fileNotFound: .io
  default: .compileFailed
  }
}

/// An environment variable's value, nil when unset or empty.
func environmentValue(_ name: String) -> String? {
  guard let text = getenv(name), text.pointee != 0 else { return nil }
  return String(cString: text)
}

/// Runs `body` with an autorelease pool where the platform has them: Metal hands out autoreleased objects, and callers
/// from C or Python have no pool of their own.
func pooled<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
  #if os(macOS)
    return try autoreleasepool(invoking: body)
  #else
    return try body()
  #endif
}
