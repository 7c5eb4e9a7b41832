// What is left of a tenant's tokens, in the headers that OpenAI's clients read.
import ControlPlane
import HTTPTypes

extension HTTPFields {
    /// Adds what is left, where anything is limited.
    mutating func add(_ allowance: TokenAllowance?) {
        guard let allowance else { return }
        let seconds = allowance.reset / .seconds(1)
        for (name, value) in [
            ("limit", "\(allowance.limit)"), ("remaining", "\(allowance.remaining)"),
            ("reset", "\((seconds * 1000).rounded(.up) / 1000)s"),
        ] {
            guard let field = HTTPField.Name("x-ratelimit-\(name)-tokens") else { continue }
            self[field] = value
        }
    }
}
