#include "CLinux.h"

#define ADD(field, n) __atomic_fetch_add(&page->field, (n), __ATOMIC_RELAXED)
#define GET(field) __atomic_load_n(&page->field, __ATOMIC_RELAXED)
#define SET(field, v) __atomic_store_n(&page->field, (v), __ATOMIC_RELAXED)

// Sequentially consistent: see locum_status_active.
void locum_status_begin(struct locum_status_page *page) { __atomic_fetch_add(&page->active, 1, __ATOMIC_SEQ_CST); }

void locum_status_end(struct locum_status_page *page, uint64_t rows) {
    uint64_t now = locum_monotonic_ns();
    ADD(invocations, 1);
    ADD(rows, rows);
    if (GET(first_answer_ns) == 0) SET(first_answer_ns, now);
    SET(last_active_ns, now);
    __atomic_fetch_sub(&page->active, 1, __ATOMIC_RELAXED);
}

void locum_status_touch(struct locum_status_page *page) {
    uint64_t now = locum_monotonic_ns();
    if (GET(first_answer_ns) == 0) SET(first_answer_ns, now);
    SET(last_active_ns, now);
}

void locum_status_ready(struct locum_status_page *page) {
    uint64_t now = locum_monotonic_ns();
    SET(ready_ns, now);
    SET(last_active_ns, now);
}

struct locum_status_page locum_status_read(const struct locum_status_page *page) {
    struct locum_status_page copy = {
        .invocations = GET(invocations),
        .rows = GET(rows),
        .last_active_ns = GET(last_active_ns),
        .first_answer_ns = GET(first_answer_ns),
        .ready_ns = GET(ready_ns),
        .active = GET(active),
        .shard = GET(shard),
    };
    return copy;
}

uint64_t locum_status_invocations(const struct locum_status_page *page) { return GET(invocations); }

uint64_t locum_status_active(const struct locum_status_page *page) {
    return __atomic_load_n(&page->active, __ATOMIC_SEQ_CST);
}

uint32_t locum_shard_state(const struct locum_status_page *page) {
    return __atomic_load_n(&page->shard, __ATOMIC_SEQ_CST);
}

bool locum_shard_move(struct locum_status_page *page, uint32_t from, uint32_t to) {
    if (!__atomic_compare_exchange_n(&page->shard, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return false;
    locum_futex_wake_shared(&page->shard, INT32_MAX);
    return true;
}

void locum_shard_wait(const struct locum_status_page *page, uint32_t state) {
    locum_futex_wait_shared(&page->shard, state);
}
