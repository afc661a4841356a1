/// The rotation of the KV codec on float rows, in place.
public enum FwhtStandalone {
  public enum Form: String, Sendable, CaseIterable {
    /// x ← H x / √D, its own inverse.
    case standalone
    /// x ← R x = H (s ∘ x) / √D.
    case signPremult = "sign_premult"
    /// x ← Rᵀ x = s ∘ (H x / √D).
    case signUndo = "sign_undo"
  }

  public struct Problem: KernelProblem {
    public var transform: Form
    public var headDim: Int
    public var rows: Int
    /// Of the signs; 0 for the default ones.
    public var seed: UInt64 = 0

    public init(_ transform: Form, headDim: Int, rows: Int) {
      self.transform = transform
      self.headDim = headDim
      self.rows = rows
    }

    var dtype: DType { .f32 }
    var form: String? { transform.rawValue }

    func size(of dim: Dim) -> Int {
      switch dim {
      case .rows: rows
      case .D: headDim
      default: 0
      }
    }
  }

  public static func plan(_ problem: Problem) throws(FAError) -> Plan { try spec.plan(problem) }

  static let spec = KernelSpec<Problem>(
    name: "fwht_standalone",
    variants: Form.allCases.flatMap { form in
      KVFormat.headDims.map { headDim in
        Variant(
          kernel: "fwht_\(form.rawValue)_f32_d\(headDim)", dtype: .f32, form: form.rawValue, headDim: headDim,
          tile: .vector)
      }
    },
    operands: [Operand(slot: 0, name: "data", access: .readWrite, dtype: .fixed(.f32), shape: [.rows, .D])],
    blocks: [
      ParamBlock(slot: 1, name: "params", type: "fa_fwht_params") { problem, _ in
        fa_fwht_params(head_dim: UInt32(problem.headDim), num_heads: UInt32(problem.rows))
      },
      Signs.block(slot: 2, seed: \.seed),
    ],
    constants: [Signs.constant(\.seed)],
    rules: [.sizes(.rows, .D)],
    launch: { problem, _ in Launch(grid: Size3(problem.rows)) },
    op: .other)
}
