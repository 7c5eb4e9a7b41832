// Where a server notes what it does, for node to see without waking it.

/// Counts sequences.
protocol UsageMeter: AnyObject {
    /// A sequence begins.
    func begin()
    /// It took a step: a sign of life in the midst of a long one.
    func touch()
    /// It ended after `rows` positions.
    func end(rows: Int)
}
