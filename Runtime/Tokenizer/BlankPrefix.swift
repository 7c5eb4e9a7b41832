// SentencePiece takes a text's first word for one like those after a blank, so it puts a blank in front. Where else it
// does depends on the form in which a model's tokenizer was published.

/// Where a blank is put before text that is merged; a stretch is what lies between added tokens.
public enum BlankPrefix: UInt32, Sendable, Hashable {
    case never = 0
    /// Before each stretch.
    case eachStretch = 1
    /// Before each stretch that does not begin with a blank.
    case eachStretchWithout = 2
    /// Before the first stretch, if it is the text's beginning and does not begin with a blank.
    case firstWithout = 3
}
