// Control's log as entries of the journal: what a message is about goes into fields that can be asked for
// (`journalctl LOCUM_FUNCTION=…`).
import Logging
import Systemd

struct JournalLogHandler: LogHandler {
    let program: String
    var logLevel = Logger.Level.info
    var metadata: Logger.Metadata = [:]

    var metadataProvider: Logger.MetadataProvider?

    init(program: String, metadataProvider: Logger.MetadataProvider?) {
        (self.program, self.metadataProvider) = (program, metadataProvider)
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let about = metadata.merging(metadataProvider?.get() ?? [:]) { _, newer in newer }
            .merging(event.metadata ?? [:]) { _, newer in newer }
        Journal.send(
            "\(event.message)", Self.priority(event.level), program: program,
            fields: about.flatMap { key, value in value.values.map { (name: Self.field(key), value: $0) } })
    }

    private static func field(_ key: String) -> String {
        "LOCUM_" + String(key.uppercased().map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "_" })
    }

    private static func priority(_ level: Logger.Level) -> Journal.Priority {
        switch level {
        case .trace, .debug: .debug
        case .info: .info
        case .notice: .notice
        case .warning: .warning
        case .error, .critical: .error
        }
    }
}

extension Logger.MetadataValue {
    /// A list's elements: the journal has a field several times.
    var values: [String] {
        if case .array(let elements) = self { elements.map { "\($0)" } } else { ["\(self)"] }
    }
}
