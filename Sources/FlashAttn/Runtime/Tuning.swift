/// What runs the kernels of a device.
public enum Provider: String, Sendable {
  /// Apple's GPU.
  case metal
  /// Native CPU kernels first, shaders executed by SoftMetal where there is none.
  case native
  /// Shaders executed by SoftMetal only.
  case shader
}

/// Every heuristic and switch, in one value. `Tuning.environment` is read once; tests inject their own.
public struct Tuning: Sendable {
  /// What to run where there is no GPU.
  public var provider = Provider.native
  /// Dispatches of an encoder run one after the other.
  public var serialDispatch = false
  /// Tracked dispatches put in barriers where an earlier dispatch conflicts.
  public var automaticBarriers = true
  /// Keep buffers resident by a residency set. Of use on a GPU only.
  public var residencySets = Device.backend == "Metal"
  /// Command buffers do not retain what they use; the encoder does.
  public var unretainedReferences = false
  /// Tensors in host memory are wrapped where the device can, instead of copied in and out.
  public var wrapsHostMemory = true
  /// Record every command buffer's label and device time in `Profile`.
  public var profile = false
  public var prefill = Prefill()

  /// How `Attention` picks among the prefill kernels.
  public struct Prefill: Sendable {
    public enum Choice: String, Sendable {
      case never = "0"
      case always = "1"
      case auto
    }

    static let defaultNSG = 8
    /// Head dimension 512 in f16 and bf16 has a kernel of its own: `FlashAttnPrefillD512`.
    public var d512 = true
    /// Simdgroups of its threadgroups, 4 or 8.
    public var nsg = defaultNSG
    /// Whether a pass over a mask finds the tiles that attention may skip. `auto` goes by the sizes below.
    public var blk = Choice.auto
    /// The least rows and keys of a mask that is worth its own pass ...
    public var blkLength = 256
    /// ... and the least number of heads and batches that share each plane of it.
    public var blkSharing = 2
  }

  public init() {}

  /// The variables of the environment, or why one of them cannot be used.
  public static let environment: Result<Tuning, FAError> = {
    do throws(FAError) { return .success(try read(environmentValue)) } catch { return .failure(error) }
  }()

  static func read(_ value: (String) -> String?) throws(FAError) -> Tuning {
    var tuning = Tuning()
    if let name = value("PYFA_PROVIDER") {
      guard let provider = Provider(rawValue: name), provider != .metal else {
        throw .invalid("environment", "PYFA_PROVIDER", expected: "native or shader", got: name)
      }
      tuning.provider = provider
    }
    func flag(_ name: String, _ path: WritableKeyPath<Tuning, Bool>) throws(FAError) {
      switch value(name) {
      case nil: return
      case "1": tuning[keyPath: path] = true
      case "0": tuning[keyPath: path] = false
      case .some(let text): throw .invalid("environment", name, expected: "0 or 1", got: text)
      }
    }
    try flag("PYFA_SERIAL_DISPATCH", \.serialDispatch)
    try flag("PYFA_AUTO_BARRIER", \.automaticBarriers)
    try flag("PYFA_RESIDENCY_SETS", \.residencySets)
    try flag("PYFA_UNRETAINED_REFERENCES", \.unretainedReferences)
    try flag("PYFA_WRAP_HOST_MEMORY", \.wrapsHostMemory)
    try flag("PYFA_PROFILE", \.profile)
    try flag("PYFA_PREFILL_D512", \.prefill.d512)
    if let text = value("PYFA_PREFILL_NSG") {
      guard let nsg = Int(text), FlashAttnPrefillD512.simdgroupCounts.contains(nsg) else {
        throw .invalid("environment", "PYFA_PREFILL_NSG", expected: "4 or 8", got: text)
      }
      tuning.prefill.nsg = nsg
    }
    if let text = value("PYFA_PREFILL_BLK") {
      guard let choice = Prefill.Choice(rawValue: text) else {
        throw .invalid("environment", "PYFA_PREFILL_BLK", expected: "0, 1 or auto", got: text)
      }
      tuning.prefill.blk = choice
    }
    return tuning
  }
}
