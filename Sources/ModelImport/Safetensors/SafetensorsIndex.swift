// `model.safetensors.index.json` says which part holds which tensor. The parts' own headers are what is
// read; the index decides which parts belong to the model and has to agree with them.

enum SafetensorsIndex {
    private static let longest = 64 << 20
    private static let mostParts = 4096

    /// All tensors of an indexed model.
    static func read(_ index: SourceFile, parts: [String: SourceFile]) throws(ImportError) -> TensorTable {
        var places: [String: String] = [:]
        var seen = false
        var json = JSONReader(file: index.name, bytes: try index.contents(most: longest))
        try json.document { json throws(ImportError) in
            try json.object { json, key throws(ImportError) in
                guard key == "weight_map" else { return try json.skip() }
                seen = true
                try json.object { json, tensor throws(ImportError) in
                    guard places.count < TensorTable.most else {
                        throw ImportError(.tooLarge, "\(json.place): more than \(TensorTable.most) tensors")
                    }
                    places[tensor] = try json.string()
                }
            }
        }
        guard seen, !places.isEmpty else {
            throw ImportError(.badIndex, "\(index.name): it has no weight_map; download the file again")
        }
        let names = Set(places.values).sorted()
        guard names.count <= mostParts else {
            throw ImportError(.badIndex, "\(index.name): \(names.count) parts, at most \(mostParts) make sense")
        }
        var table = TensorTable()
        for name in names {
            guard let part = parts[name] else {
                throw ImportError(
                    .missingFile,
                    "\(index.name): it names the part \(name.prefix(200)), which is not in the folder; "
                        + "download the missing file")
            }
            try SafetensorsFile.read(part, into: &table)
        }
        for (tensor, part) in places.sorted(by: { $0.key < $1.key }) where table[tensor]?.file.name != part {
            throw ImportError(
                .badIndex,
                "\(index.name): tensor \(tensor) should be in \(part), "
                    + (table[tensor].map { "but is in \($0.file.name)" } ?? "but is in none of the parts")
                    + "; download index and parts of one revision")
        }
        if let stray = table.tensors.keys.filter({ places[$0] == nil }).min() {
            throw ImportError(
                .badIndex,
                "\(index.name): it does not list the tensor \(stray) of "
                    + "\(table[stray]?.file.name ?? "a part"); download index and parts of one revision")
        }
        return table
    }
}
