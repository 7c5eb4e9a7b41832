// Reading a packed tile of quantised weights, for any width of vectors: included after vector.h. tile.h has the layout;
// where a vector is a part of a tile, the pointers given here are that part's.

/// 4 columns of an activation block in every lane.
INLINE ints four(const struct lk_block_x *x, int group) {
    int32_t columns;
    __builtin_memcpy(&columns, x->q + 4 * group, 4);
    return spread(columns);
}

/// 4 columns of each lane's row in a block, as bytes for a product with activations.
INLINE ints weights_of(lk_format format, const uint8_t *block, int group) {
    const int bits = lk_weight_bits(format);
    if (bits == 8) return factors(load_ints(block + 64 * group));
    ints both = load_ints(block + lk_high_bytes(format) + 64 * (group % 4));
    ints low = group < 4 ? low_nibbles(both) : high_nibbles(both);
    if (bits == 5) return with_bits(low, load_ints(block), group - 4, 0x10);
    if (bits == 6) return with_bits(low, load_ints(block + 64 * (group / 4)), group % 4 * 2 - 4, 0x30);
    return low;
}

/// What a block's sum of products is multiplied with, before the activations' scale. Q6_K has its own scales in the sum.
INLINE vector scale_of(lk_format format, const uint8_t *head, const uint8_t *scales) {
    vector d = load_halves(head);
    return lk_is_k(format) && format != LK_Q6_K ? multiply(d, load_bytes(scales)) : d;
}

/// What the activations' sum is multiplied with and then added.
INLINE vector minimum_of(lk_format format, const uint8_t *head, const uint8_t *scales) {
    vector m = load_halves(head + 32);
    return lk_is_k(format) ? multiply(m, load_bytes(scales + 16)) : m;
}
