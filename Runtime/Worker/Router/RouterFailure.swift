// Why a sequence is refused or ended, in the words that its caller gets. A failure is of one sequence, or of
// the step that several shared; it never ends the router.
import Wire

/// The content of `RouterEvent.failed`.
struct RouterFailure: Error, Equatable {
    /// Stable: `busy`, `draining`, `invalid_prompt`, `invalid_messages`, `invalid_parameter`,
    /// `context_length_exceeded`, `not_finite`, or what acquiring experts failed with (`crashed`, …).
    let code: String
    /// OpenAI's name of the parameter that is wrong, or empty.
    let parameter: String
    let message: String

    init(_ code: String, parameter: String = "", _ message: String) {
        (self.code, self.parameter, self.message) = (code, parameter, message)
    }

    var event: RouterEvent { .failed(code: code, parameter: parameter, message: message) }
}
