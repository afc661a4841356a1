/// What one shader source declares, after its preprocessing: the front end of SoftMetal's shader compiler.
///
/// It reads declarations, not expressions: which kernels there are, what they take, and which constants they use. From
/// that it writes C++ for one kernel at a time. docs/softmetal_shaders.md tells the whole journey.
struct ShaderModule: Sendable {
  /// The kernels, by host name, in the order of the text.
  let functions: [ShaderFunction]
  /// The declared function constants, by rising index.
  let constants: [ShaderConstant]
  let program: Program

  /// - Parameters:
  ///   - text: what `clang -E` made of the source, with its line markers.
  ///   - languageVersion: decides what is allowed, lambdas for instance.
  /// - Throws: the first mistake, or the first thing that SoftMetal does not have, with its place in the source.
  init(preprocessed text: String, languageVersion: MTLLanguageVersion = .version3_2) throws(ShaderError) {
    program = try Program(text: text, languageVersion: languageVersion)
    var functions: [ShaderFunction] = []
    for entry in program.entries { functions.append(try program.function(of: entry)) }
    self.functions = functions
    constants = program.constants.map(\.declared).sorted { $0.index < $1.index }
  }

  /// The constants that a kernel can reach, by rising index; none if there is no such kernel. A constant that the kernel
  /// asks about with `is_function_constant_defined` may be left without a value.
  func constants(usedBy function: String) -> [(ShaderConstant, required: Bool)] {
    program.constants(usedBy: function)
  }

  /// C++ text of one kernel under the values of its constants.
  func translate(
    _ function: String, constants: [ConstantValue], flavour: ShaderFlavour
  ) throws(ShaderError) -> ShaderTranslation {
    try program.translate(function, constants: constants, flavour: flavour)
  }

  /// C++ text of every kernel with its constants open: enough to find what a compiler objects to, not to run.
  func translateForCheck() throws(ShaderError) -> String {
    try program.translateForCheck()
  }

  /// The text in which `SpaceProbe` looks for mixed address spaces.
  func translateForProbe() throws(ShaderError) -> String {
    try program.translateForProbe()
  }

  /// How many functions the shader declares under a name.
  func overloads(_ name: String) -> Int {
    program.symbols.byName[name]?.count ?? 0
  }
}

/// A kernel, under the name by which a client asks for it.
struct ShaderFunction: Sendable, Equatable {
  let name: String
  let line: Int
  /// `[[max_total_threads_per_threadgroup(n)]]`.
  let maxTotalThreads: Int?
}

/// A `[[function_constant(index)]]`.
struct ShaderConstant: Sendable, Equatable {
  let name: String
  let index: Int
  let type: MTLDataType
  let line: Int
}

struct ShaderTranslation: Sendable {
  /// A C++ translation unit; `#line` keeps the shader's own lines.
  let text: String
  /// The buffers that exist under the constants, by rising slot.
  let arguments: [KernelArgument]
  /// Slots of threadgroup memory whose length the dispatch sets, by rising slot.
  let threadgroupSlots: [Int]
}

/// The ways in which one kernel can be compiled.
struct ShaderFlavour: Hashable, Sendable {
  /// The threads of a simdgroup meet before every store to threadgroup memory.
  var lockstep: Bool
  /// Every access to memory is reported to the checker.
  var checked: Bool
}

/// A mistake in a shader and its place: the file and line that the line markers name, the column as preprocessed.
struct ShaderError: Error, Equatable, Sendable {
  let message: String
  let file: String
  let line: Int
  let column: Int
}
