// swift-tools-version: 6.3
import PackageDescription

let package = Package(
  name: "swift-app",
  platforms: [.macOS(.v15)],
  dependencies: [.package(name: "pyfa", path: "../..")],
  targets: [
    .executableTarget(name: "AttentionApp", dependencies: [.product(name: "FlashAttn", package: "pyfa")])
  ]
)
