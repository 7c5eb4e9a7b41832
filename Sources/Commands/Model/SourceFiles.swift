// The files of a deployment's source, opened here with the rights of the person who typed the command.
import Glibc
import Syscall
import Wire

/// An opened source file and the name by which messages speak of it.
struct SourceFile {
    let name: String
    let descriptor: Descriptor
}

enum SourceFiles {
    struct Unusable: Error, CustomStringConvertible {
        let description: String
    }

    /// Where the largest parts of a source lie.
    static func paths(_ source: String) throws -> [String] {
        var (path, info) = (source, stat())
        if stat(source, &info) < 0, let shipped = Installation.model(source) { path = shipped }
        guard stat(path, &info) == 0, info.st_mode & S_IFMT == S_IFDIR else { return GGUFPart(path)?.all ?? [path] }
        return try list(path).filter { $0.hasSuffix(".safetensors") }.map { "\(path)/\($0)" }
    }

    /// The same with a chat template.
    /// - Parameter chatTemplate: a file that takes the place of the folder's own.
    static func open(_ source: String, chatTemplate: String?) throws -> [SourceFile] {
        var files = try open(source)
        if let chatTemplate {
            files.removeAll { $0.name == DeployOptions.chatTemplateFile }
            files.append(try file(chatTemplate, name: DeployOptions.chatTemplateFile))
        }
        return files
    }

    /// The .gguf file itself or all its parts, or what a Hugging Face folder holds of interest.
    static func open(_ source: String) throws -> [SourceFile] {
        var path = source
        var info = stat()
        if stat(source, &info) < 0 {
            let reason = errno
            guard reason == ENOENT, let shipped = Installation.model(source) else {
                let hint = reason == ENOENT ? " Give a Hugging Face folder, a .gguf file, or tales-moe." : ""
                throw Unusable(description: "cannot open \(source): \(String(cString: strerror(reason))).\(hint)")
            }
            path = shipped
            try check(stat(path, &info), "open \(path)")
        }
        if info.st_mode & S_IFMT != S_IFDIR {
            return try (GGUFPart(path)?.all ?? [path]).map { try file($0, name: lastPart($0)) }
        }
        let names = try list(path).filter { name in
            [".json", ".safetensors", ".jinja"].contains { name.hasSuffix($0) }
        }.sorted()
        guard names.contains("config.json") else {
            throw Unusable(
                description: "\(path) has no config.json, so it is not a Hugging Face model folder. "
                    + "Name the folder that holds config.json and *.safetensors, or a .gguf file.")
        }
        return try names.map { try file(path + "/" + $0, name: $0) }
    }

    private static func file(_ path: String, name: String) throws -> SourceFile {
        // A named pipe would be waited for.
        let raw = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard raw >= 0 else {
            throw Unusable(description: "cannot open \(path): \(String(cString: strerror(errno))).")
        }
        let descriptor = Descriptor(owning: raw)
        var info = stat()
        guard fstat(raw, &info) == 0, info.st_mode & S_IFMT == S_IFREG else {
            throw Unusable(description: "\(path) is not a regular file.")
        }
        return SourceFile(name: name, descriptor: descriptor)
    }

    private static func list(_ path: String) throws -> [String] {
        guard let folder = opendir(path) else {
            throw Unusable(description: "cannot read the folder \(path): \(String(cString: strerror(errno))).")
        }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            names.append(
                withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
        }
        return names
    }

    private static func lastPart(_ path: String) -> String { path.split(separator: "/").last.map(String.init) ?? path }
}
