// swift-tools-version: 6.2
// The module graph is the privilege split. `Runtime/` is linked into or read by the sandboxed side,
// `Sources/` is the trusted side; ARCHITECTURE.md says which module may use which, and the build
// (--explicit-target-dependency-import-check error) holds it.
import PackageDescription

let strict: [SwiftSetting] = [
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]
/// For modules that read bytes of strangers: every unsafe expression is marked.
let hostile = strict + [.strictMemorySafety()]
/// Kernels are what a debug run would otherwise spend its time in.
let kernelFlags: [CSetting] = [
    .unsafeFlags(["-O3", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra", "-Werror"])
]

/// Without shared libraries, at an address that is drawn anew at each start. Wants --disable-local-rpath, as the Makefile says
/// it: libc ends a static program of that kind that has a search path for libraries.
let alone: [LinkerSetting] = [.unsafeFlags(["-static-executable", "-use-ld=lld", "-Xclang-linker", "-static-pie"])]

func runtime(_ name: String, _ dependencies: [Target.Dependency] = [], settings: [SwiftSetting] = strict) -> Target {
    .target(name: name, dependencies: dependencies, path: "Runtime/\(name)", swiftSettings: settings)
}
func trusted(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: strict)
}
func program(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}
func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}

let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let grdb: Target.Dependency = .product(name: "GRDB", package: "GRDB.swift")
let hummingbird: Target.Dependency = .product(name: "Hummingbird", package: "hummingbird")
let hummingbirdCore: Target.Dependency = .product(name: "HummingbirdCore", package: "hummingbird")
let httpTypes: Target.Dependency = .product(name: "HTTPTypes", package: "swift-http-types")
let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioEmbedded: Target.Dependency = .product(name: "NIOEmbedded", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioHTTP: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let nioTLS: Target.Dependency = .product(name: "NIOTLS", package: "swift-nio")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
    name: "locum",
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0", traits: []),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0", traits: []),
    ],
    targets: [
        // The sandboxed side: no Foundation, NIO, Dispatch, Concurrency or logging.
        .target(name: "CLinux", path: "Runtime/CLinux", cSettings: [.unsafeFlags(["-Wall", "-Wextra", "-Werror"])]),
        .systemLibrary(name: "CCap", path: "Runtime/CCap", pkgConfig: "libcap", providers: [.apt(["libcap-dev"])]),
        .systemLibrary(
            name: "CSeccomp", path: "Runtime/CSeccomp", pkgConfig: "libseccomp", providers: [.apt(["libseccomp-dev"])]),
        .target(name: "CKernels", path: "Runtime/CKernels", cSettings: kernelFlags),
        runtime("Syscall", ["CLinux"]),
        runtime("Wire", settings: hostile),
        runtime("Shard", ["Kernels"], settings: hostile),
        runtime("Kernels", ["CKernels"]),
        runtime("Tokenizer", settings: hostile),
        runtime("Template", settings: hostile),
        // Data alone: what is compiled from it is loaded on the sandboxed side.
        .target(
            name: "Policies", path: "Runtime/Policies",
            resources: ["expert", "router", "import", "control", "confined", "never"].map {
                .embedInCode("\($0).policy")
            },
            swiftSettings: strict),
        runtime("Sandbox", ["CLinux", "CCap", "Syscall"]),
        runtime("Link", ["CLinux", "Syscall", "Wire"]),
        runtime("ForkServer", ["CLinux", "Syscall", "Wire", "Sandbox"]),
        runtime("Worker", ["CLinux", "Syscall", "Wire", "Link", "Shard", "Kernels", "Tokenizer", "Template"]),
        .executableTarget(
            name: "locum-zygote", dependencies: ["ForkServer", "Worker"],
            path: "Runtime/Zygote", swiftSettings: strict, linkerSettings: alone),

        // The trusted side.
        .systemLibrary(name: "CSystemd", pkgConfig: "libsystemd", providers: [.apt(["libsystemd-dev"])]),
        .systemLibrary(name: "CLibYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
        trusted("Systemd", ["CSystemd"]),
        trusted("Settings", ["CLibYAML", "Syscall"]),
        trusted("Scheduler"),
        trusted("Observability"),
        trusted("FunctionModel", ["Scheduler"]),
        trusted(
            "ModelImport", ["FunctionModel", "Shard", "Tokenizer", "Template", "Kernels", "Syscall", "Wire", crypto]),
        trusted("ShardStore", ["Shard", "Syscall", "Wire", crypto]),
        trusted("SeccompCompiler", ["CLinux", "CSeccomp", "Policies", "Syscall"]),
        trusted(
            "NodeAgent",
            [
                "CLinux", "Policies", "Scheduler", "SeccompCompiler", "Syscall", "Wire", "Link", "Sandbox",
                "ShardStore", "Systemd",
            ]),
        trusted("ControlStore", ["FunctionModel", grdb]),
        trusted(
            "ControlPlane",
            [
                "Scheduler", "FunctionModel", "ControlStore", "Observability", "Wire", "Link", "Syscall", crypto,
                nioCore,
                nioPosix, logging,
            ]),
        trusted(
            "Gateway",
            [
                "FunctionModel", "ControlPlane", "Observability", "Syscall", "Wire", hummingbird, hummingbirdCore,
                httpTypes, nioCore, nioHTTP, nioPosix, nioSSL, nioTLS, logging,
            ]),
        trusted("ControlClient", ["Syscall", nioCore, nioPosix, nioHTTP]),
        trusted(
            "Commands",
            [
                "Kernels", "Scheduler", "FunctionModel", "ControlClient", "Settings", "Wire", "Link", "Syscall",
                "CLinux", arguments, crypto,
            ]),
        program("locum-import", ["ModelImport", "Sandbox", "Syscall", "Wire"]),
        program("locum-node", ["NodeAgent", "Sandbox", "Settings", "Syscall", "Systemd", "Wire"]),
        program(
            "locum-control",
            [
                "CLinux", "ControlPlane", "ControlStore", "Gateway", "FunctionModel", "Policies", "Sandbox",
                "SeccompCompiler", "Settings", "ShardStore", "Syscall", "Systemd", "Wire", nioCore, nioPosix, logging,
            ]),
        program("locum", ["Commands", arguments]),
        // Development tools; not installed.
        trusted("TestModel", ["Kernels", "Tokenizer", arguments]),
        program("locum-testmodel", ["TestModel", arguments]),
        program("locum-eval", ["Link", "Wire", "Syscall"]),
        program("locum-bench", ["CLinux", "Link", "Wire", "Worker", "Syscall"]),

        // A zygote whose workers misbehave. SandboxTests start it; they cannot depend on it, because its static
        // linking would be theirs, too.
        .target(name: "CProbe", path: "Tests/Probes/CProbe"),
        .executableTarget(
            name: "locum-probe", dependencies: ["CProbe", "CLinux", "ForkServer", "Sandbox", "Syscall", "Wire"],
            path: "Tests/Probes/Program", swiftSettings: strict,
            linkerSettings: alone),
        // A zygote whose workers speak the protocols and lie. Tests/Sandbox puts it in locum-zygote's place.
        .executableTarget(
            name: "locum-hostile",
            dependencies: ["CProbe", "CLinux", "ForkServer", "Link", "Shard", "Syscall", "Wire", "Worker"],
            path: "Tests/Probes/Hostile", swiftSettings: strict,
            linkerSettings: alone),
        .target(name: "SeededRandom", path: "Tests/SeededRandom", swiftSettings: strict),
        tests("CommandsTests", ["Commands", "FunctionModel", "Settings", "Wire"]),
        tests("SettingsTests", ["SeededRandom", "Settings"]),
        tests("KernelsTests", ["Kernels", "SeededRandom"]),
        tests("ShardTests", ["Shard", "Kernels"]),
        .testTarget(
            name: "SchedulerTests", dependencies: ["Scheduler", "SeededRandom"], exclude: ["Traces"],
            swiftSettings: strict),
        tests("ObservabilityTests", ["Observability", "SeededRandom"]),
        tests("ShardStoreTests", ["ShardStore", "Syscall"]),
        tests("ControlStoreTests", ["ControlStore", "FunctionModel", "SeededRandom", grdb]),
        tests(
            "ControlPlaneTests",
            [
                "ControlPlane", "ControlStore", "FunctionModel", "Observability", "Scheduler", "SeededRandom", "Wire",
                "Syscall",
                nioCore,
                nioEmbedded, logging,
            ]),
        tests(
            "GatewayTests",
            [
                "Gateway", "ControlPlane", "FunctionModel", "Observability", "Syscall", "Wire", httpTypes, nioCore,
                nioPosix,
                logging,
            ]),
        tests(
            "NodeAgentTests",
            ["NodeAgent", "CLinux", "Link", "Sandbox", "SeededRandom", "ShardStore", "Syscall", "Wire"]),
        tests(
            "ModelImportTests",
            [
                "ModelImport", "FunctionModel", "SeededRandom", "Shard", "Kernels", "Syscall", "Template", "Tokenizer",
                "Wire", crypto,
            ]),
        tests(
            "TestModelTests",
            ["TestModel", "ModelImport", "FunctionModel", "Shard", "Kernels", "Tokenizer", arguments]),
        tests("TokenizerTests", ["SeededRandom", "Tokenizer"]),
        tests("SandboxTests", ["CProbe", "CSeccomp", "Policies", "Sandbox", "SeccompCompiler", "Syscall"]),
        tests("TemplateTests", ["SeededRandom", "Template", "Tokenizer"]),
        tests(
            "WorkerTests",
            [
                "Worker", "ModelImport", "FunctionModel", "CLinux", "SeededRandom", "Syscall", "Wire", "Link", "Shard",
                "Kernels", "Tokenizer", "Template",
            ]),
    ]
)

let fuzzed: [Target.Dependency] = [
    "CLinux", "ControlPlane", "FunctionModel", "Gateway", "Kernels", "ModelImport", "Scheduler", "Shard", "Template",
    "Tokenizer", "Wire", "Worker", nioCore, nioEmbedded, nioHTTP,
]
// `make fuzz` names libFuzzer's archive here. Then there is locum-fuzz, and what it links of Locum is built with the
// instrumentation of libFuzzer and of AddressSanitizer, optimised. In other builds the targets are a test of their corpus.
if let fuzzer = Context.environment["LOCUM_FUZZER"] {
    let instrumented: [SwiftSetting] = [.unsafeFlags(["-O", "-sanitize=fuzzer,address"])]
    package.targets.append(
        .target(name: "FuzzTargets", dependencies: fuzzed, path: "Tests/Fuzz/Targets", swiftSettings: strict))
    for target in package.targets where target.type == .regular {
        target.swiftSettings = (target.swiftSettings ?? []) + instrumented
        target.cSettings = (target.cSettings ?? []) + [.unsafeFlags(["-fsanitize=fuzzer-no-link,address"])]
    }
    package.targets += [
        .target(name: "CFuzzer", path: "Tests/Fuzz/CFuzzer"),
        .executableTarget(
            name: "locum-fuzz", dependencies: ["CFuzzer", "FuzzTargets", "Kernels"],
            path: "Tests/Fuzz/Program", swiftSettings: strict + instrumented,
            linkerSettings: [
                .unsafeFlags(["-sanitize=address", "-use-ld=lld", "-Xlinker", fuzzer]), .linkedLibrary("stdc++"),
            ]),
    ]
} else {
    package.targets.append(
        .testTarget(
            name: "FuzzTests", dependencies: fuzzed, path: "Tests/Fuzz",
            exclude: ["CFuzzer", "Corpus", "Dictionaries", "Program", "run.py"], swiftSettings: strict))
}
