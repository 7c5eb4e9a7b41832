// A folder of a test's own, and small models in it.
import Foundation
import Glibc
import Kernels
import TestModel

/// Runs `body` with an empty folder that goes afterwards.
func withFolder<T>(_ body: (String) throws -> T) throws -> T {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("locum-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(at: folder) }
    return try body(folder.path)
}

func names(_ folder: String) throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: folder) }

func bytes(_ path: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: path))) }

/// The error that `body` ends with, nil if none.
func failure(_ body: () throws(TestModelError) -> Void) -> TestModelError? {
    do throws(TestModelError) {
        try body()
        return nil
    } catch {
        return error
    }
}

extension TestModel {
    /// A model of the smallest preset.
    static func tiny(
        _ format: WeightFormat = .q4_0, _ dial: RoutingDial = RoutingDial(), seed: UInt64 = 1
    ) throws(TestModelError) -> TestModel {
        try TestModel(shape: Preset.tiny.shape, mixture: Mixture(format), dial: dial, seed: seed)
    }

    /// Three layers whose experts are chosen as in Qwen1.5-MoE, but narrow.
    static func sixtyExperts(_ dial: RoutingDial) throws(TestModelError) -> TestModel {
        var shape = Preset.tiny.shape
        (shape.layers, shape.experts, shape.expertsPerToken, shape.expertWidth) = (3, 60, 4, 32)
        return try TestModel(shape: shape, mixture: Mixture(.q8_0), dial: dial, seed: 7)
    }
}
