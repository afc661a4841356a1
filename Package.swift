// swift-tools-version: 6.3
import PackageDescription

/// Targets as data: one row each, in dependency order. Nothing points upward (tests/drift checks it).
struct Row {
  enum Kind { case library, test }
  var kind = Kind.library
  let name: String
  var path: String?
  var needs: [String] = []
  /// Needed only where Apple's Metal is absent.
  var needsWithoutMetal: [String] = []
}

let rows: [Row] = [
  Row(name: "CFlashAttn"),
  Row(name: "CSoftMetal"),
  Row(name: "CFlashAttnCPU", needs: ["CFlashAttn", "CSoftMetal"]),
  Row(name: "SoftMetal", needs: ["CSoftMetal"]),
  Row(name: "FlashAttn", needs: ["CFlashAttn"], needsWithoutMetal: ["SoftMetal", "CFlashAttnCPU"]),
  Row(name: "FlashAttnABI", needs: ["CFlashAttn", "FlashAttn"]),
  Row(kind: .test, name: "SoftMetalTests", path: "tests/swift/SoftMetalTests", needs: ["SoftMetal", "CSoftMetal"]),
  Row(
    kind: .test, name: "FlashAttnTests", path: "tests/swift/FlashAttnTests", needs: ["FlashAttn", "FlashAttnABI"],
    needsWithoutMetal: ["CSoftMetal"]),
]

let linux = TargetDependencyCondition.when(platforms: [.linux])
let swiftSettings: [SwiftSetting] = [.enableUpcomingFeature("ExistentialAny")]

let package = Package(
  name: "pyfa",
  platforms: [.macOS(.v15)],
  products: [
    .library(name: "pyfa", type: .dynamic, targets: ["FlashAttnABI"]),
    .library(name: "FlashAttn", type: .static, targets: ["FlashAttn"]),
    .library(name: "SoftMetal", targets: ["SoftMetal"]),
  ],
  targets: rows.map { row in
    let dependencies: [Target.Dependency] =
      row.needs.map { .target(name: $0) } + row.needsWithoutMetal.map { .target(name: $0, condition: linux) }
    let settings = row.name.hasPrefix("C") ? [] : swiftSettings
    switch row.kind {
    case .library:
      return .target(name: row.name, dependencies: dependencies, path: row.path, swiftSettings: settings)
    case .test:
      return .testTarget(name: row.name, dependencies: dependencies, path: row.path, swiftSettings: settings)
    }
  },
  swiftLanguageModes: [.v6],
  cLanguageStandard: .c17,
  cxxLanguageStandard: .cxx17  // C++20 turns header includes across targets into module imports
)
