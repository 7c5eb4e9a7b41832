// A GGUF model cut into files as llama-gguf-split does it: the first has all metadata, every one says which it is of how
// many, and has tensors of its own.

extension GGUFFile {
    /// One file that is a whole model, or all files of one that was cut, in any order.
    /// - Throws: `ImportError` also when a part is missing or stands twice, or the parts have not all tensors together.
    static func whole(_ files: [SourceFile]) throws(ImportError) -> GGUFFile {
        var parts: [GGUFFile] = []
        for file in files { parts.append(try GGUFFile(file)) }
        guard let any = parts.first else { throw ImportError(.notAModel, "no GGUF file was given; name one") }
        let count = try any.int("split.count") ?? 1
        if parts.count == 1, count <= 1 { return any }
        guard parts.count == count else {
            throw ImportError(
                .missingFile,
                count > 1
                    ? "\(any.file.name): one of \(count) parts, but there are \(parts.count) files; have all parts in one "
                        + "folder and name any of them"
                    : "\(parts.count) GGUF files that are not parts of one model; name the one you mean")
        }
        var ordered: [GGUFFile?] = Array(repeating: nil, count: count)
        for part in parts {
            let number = try part.required("split.no", part.int("split.no"))
            guard try part.int("split.count") == count, ordered.indices.contains(number), ordered[number] == nil else {
                throw ImportError(
                    .badGGUF,
                    "\(part.file.name): says that it is part \(number &+ 1) of \(try part.int("split.count") ?? 1), which is "
                        + "no place of its own among the \(count) files; have the parts of one model only")
            }
            ordered[number] = part
        }
        let all = ordered.compactMap { $0 }
        var tensors = TensorTable()
        for part in all {
            for tensor in part.tensors.tensors.values { try tensors.add(tensor) }
        }
        if let expected = try all[0].int("split.tensors.count"), expected != tensors.tensors.count {
            throw ImportError(
                .badGGUF,
                "\(all[0].file.name): its parts should have \(expected) tensors, but have \(tensors.tensors.count); "
                    + "download all parts again")
        }
        return GGUFFile(all[0], tensors: tensors)
    }
}
