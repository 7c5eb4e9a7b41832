// When prompts are read beside running answers, and how many rows at a time. An answer's tokens may take twice as long on
// average, so after each step with rows of prompts others without follow, until these have had as much time as the prompts.
// Many rows at once cost far less than as many one by one, for they share experts; but no step shall hold up an
// answer long enough to be noticed. What rows cost is learnt from the steps: it depends on the model and the machine.

/// Shares a router's time between answers and prompts.
struct StepPace {
    /// Rows of prompts that the next step may have beside answers.
    var rows: Int { debt > 0 || alone == 0 ? 0 : Int(chunk) }

    /// Rows of a prompt that are computed by themselves, before all answers, for somebody who has nothing else here.
    var expressRows: Int { max(64, Int(chunk)) }

    private var chunk = 32.0
    /// Nanoseconds of a step of answers alone; 0 while unknown.
    private var alone = 0.0
    /// Nanoseconds that prompts have had and answers have not.
    private var debt = 0.0

    /// What the rows of prompts in one step may take, unless answers take longer.
    private static let most = 200e6
    /// Fewer rows at once cost nearly as much: most of it is reading experts.
    private static let fewest = 16.0
    /// Weight of the latest step.
    private static let weight = 0.25

    /// Answers have waited for a prompt that was computed by itself.
    mutating func lent(_ nanoseconds: UInt64) { debt += Double(nanoseconds) }

    /// Takes note of a step that had rows of answers.
    mutating func took(_ nanoseconds: UInt64, promptRows: Int) {
        let time = Double(nanoseconds)
        guard promptRows > 0 else {
            alone = alone == 0 ? time : alone + Self.weight * (time - alone)
            debt = max(0, debt - time)
            return
        }
        // Answers alone cannot have taken longer than answers with prompts: they waited for experts then.
        alone = min(alone, time)
        debt = time - alone
        // The end of a prompt says little about whole steps.
        guard 2 * promptRows >= Int(chunk) else { return }
        let fitting = Double(promptRows) * max(alone, Self.most) / max(1, debt)
        let next = chunk + Self.weight * (min(fitting, 4 * chunk) - chunk)
        chunk = min(max(Self.fewest, next), Double(StepPlan.mostRows))
    }
}
