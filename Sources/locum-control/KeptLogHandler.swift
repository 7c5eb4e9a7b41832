// Keeps the latest of what is logged, for `locum logs`; it goes where it always went all the same.
import ControlPlane
import FunctionModel
import Logging

struct KeptLogHandler: LogHandler {
    var inner: any LogHandler
    /// What goes there: who looks at a terminal wants to know what is wrong.
    let least: Logger.Level
    let feed: Feed<LogReport>

    var logLevel: Logger.Level {
        get { inner.logLevel }
        set { inner.logLevel = newValue }
    }
    var metadata: Logger.Metadata {
        get { inner.metadata }
        set { inner.metadata = newValue }
    }
    var metadataProvider: Logger.MetadataProvider? {
        get { inner.metadataProvider }
        set { inner.metadataProvider = newValue }
    }
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { inner[metadataKey: key] }
        set { inner[metadataKey: key] = newValue }
    }

    func log(event: LogEvent) {
        if event.level >= least { inner.log(event: event) }
        let about = metadata.merging(metadataProvider?.get() ?? [:]) { _, newer in newer }
            .merging(event.metadata ?? [:]) { _, newer in newer }
        let (level, message, time) = (event.level.rawValue, "\(event.message)", EventLog.now())
        feed.add {
            LogReport(
                number: $0, time: time, level: level, message: message,
                fields: about.mapValues { $0.values.joined(separator: ",") })
        }
    }
}
