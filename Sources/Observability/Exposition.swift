// Prometheus's text format, version 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/

public enum Exposition {
    /// The media type of the text.
    public static let mediaType = "text/plain; version=0.0.4; charset=utf-8"

    /// All families, each with what it is, also those without values yet.
    public static func text(_ families: [MetricFamily]) -> String {
        var text = ""
        for family in families {
            text += "# HELP \(family.name) \(escaped(family.help))\n# TYPE \(family.name) \(family.kind.rawValue)\n"
            for sample in family.samples { write(family.name, sample, to: &text) }
        }
        return text
    }

    private static func write(_ name: String, _ sample: MetricFamily.Sample, to text: inout String) {
        switch sample.value {
        case .number(let value): text += line(name, sample.labels, value)
        case .distribution(let histogram):
            var count: UInt64 = 0
            for (bound, each) in zip(histogram.bounds + [.infinity], histogram.counts) {
                count += each
                text += line(name + "_bucket", sample.labels + [.init("le", number(bound))], Double(count))
            }
            text += line(name + "_sum", sample.labels, histogram.sum)
            text += line(name + "_count", sample.labels, Double(count))
        }
    }

    private static func line(_ name: String, _ labels: [MetricFamily.Label], _ value: Double) -> String {
        let list = labels.filter { !$0.value.isEmpty }.map { "\($0.name)=\"\(escaped($0.value, quoted: true))\"" }
        return name + (list.isEmpty ? "" : "{\(list.joined(separator: ","))}") + " \(number(value))\n"
    }

    private static func number(_ value: Double) -> String {
        if value == .infinity { return "+Inf" }
        if value == -.infinity { return "-Inf" }
        if value.isNaN { return "NaN" }
        return Int64(exactly: value).map(String.init) ?? "\(value)"
    }

    private static func escaped(_ text: String, quoted: Bool = false) -> String {
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": escaped += "\\\\"
            case "\n": escaped += "\\n"
            case "\"" where quoted: escaped += "\\\""
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }
}
