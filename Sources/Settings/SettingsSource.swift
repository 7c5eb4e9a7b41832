// Where a process has its settings from, so that a daemon can read them a second time.

/// A file, the environment, and the flags that the process was started with.
public struct SettingsSource: Sendable {
    /// nil: no file is read.
    public var file: String?
    /// Names without dashes, the nearest last.
    public var flags: [(name: String, value: String)] = []

    public init(file: String? = nil, flags: [(name: String, value: String)] = []) {
        (self.file, self.flags) = (file, flags)
    }

    /// - Throws: `SettingsError` with all that is wrong.
    public func read() throws(SettingsError) -> ServiceSettings {
        var settings = ServiceSettings()
        var problems: [String] = []
        do throws(SettingsError) { settings = try .read(file) } catch { problems += error.problems }
        for (name, value) in flags {
            do throws(SettingsError) { try settings.set(name, value, .flag("--\(name)")) } catch {
                problems += error.problems
            }
        }
        guard problems.isEmpty else { throw SettingsError(problems) }
        try settings.check()
        return settings
    }
}
