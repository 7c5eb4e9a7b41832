// What the kernel says about the processor's known weaknesses. Locum cannot mend them; an administrator should see them.
import Glibc

enum CPUWeaknesses {
    /// For `locum status`: names of those that are open, in whole or in part.
    static func report(folder: String = "/sys/devices/system/cpu/vulnerabilities") -> String {
        guard let stream = opendir(folder) else { return "not told by this kernel" }
        defer { closedir(stream) }
        var open: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if ProcessFacts.read("\(folder)/\(name)", atMost: 256).lowercased().contains("vulnerable") {
                open.append(name)
            }
        }
        return open.isEmpty ? "mitigated" : "open: \(open.sorted().joined(separator: ", "))"
    }
}
