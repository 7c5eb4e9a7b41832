// How large the arenas of a link are. They are reserved, not charged: a page costs memory when touched.

/// Sizes of the memory that a link's two sides share.
public enum Arena {
    /// A caller's request arena: one per connection, read by all its callees.
    public static let requestBytes = 64 << 20
    /// A callee's reply arena, one per link. Lane `i` of `n` answers into bytes `i*count/n ..< (i+1)*count/n`.
    public static let replyBytes = 64 << 20
}
