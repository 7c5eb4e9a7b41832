// What control does on SIGHUP: it reads its settings again and takes over what can change while it runs. Settings that are
// wrong change nothing at all.
import ControlPlane
import Gateway
import Logging
import Settings
import Synchronization
import Systemd

actor Reloading {
    private let source: SettingsSource
    /// In force; of those that take a restart what control was started with.
    private var settings: ServiceSettings
    private let controller: Controller
    private let tls: TLSFiles?
    private let notifier: Notifier
    private let logger: Logger
    /// Whoever holds the lifeline wants an end, not a good one.
    private let drains: Bool

    init(
        _ arguments: ControlArguments, _ controller: Controller, _ tls: TLSFiles?, _ notifier: Notifier,
        _ logger: Logger
    ) {
        (source, settings, drains) = (arguments.source, arguments.settings, arguments.lifeline < 0)
        (self.controller, self.tls, self.notifier, self.logger) = (controller, tls, notifier, logger)
    }

    func reload() async {
        notifier.reloading()
        defer { notifier.ready() }
        let new: ServiceSettings
        do throws(SettingsError) { new = try source.read() } catch {
            logger.error("the settings were read again and are wrong, so nothing is changed: \(error)")
            return
        }
        let changes = settings.take(new, for: .control)
        await apply()
        if let tls, let files = settings.tls { tls.change(certificate: files.certificate, key: files.key) }
        logger.notice(
            "the settings were read again: \(changes.isEmpty ? "nothing has changed" : changes.joined(separator: "; "))"
        )
    }

    /// Puts the settings that can change into force.
    func apply() async {
        await controller.change(idle: settings.idle)
        let drain = drains ? min(settings.drainMilliseconds, 3_600_000) : 0
        Leaving.drain.withLock { $0 = drain }
    }
}

extension ServiceSettings {
    var idle: IdlePolicy {
        IdlePolicy(
            fixed: idleMilliseconds.map { .milliseconds($0) }, keepSessions: .milliseconds(keepSessionsMilliseconds))
    }
}
