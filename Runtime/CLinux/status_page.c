#include "CLinux.h"

#define ADD(field, n) __atomic_fetch_add(&page->field, (n), __ATOMIC_RELAXED)
#define GET(field) __atomic_load_n(&page->field, __ATOMIC_RELAXED)
#define SET(field, v) __atomic_store_n(&page->field, (v), __ATOMIC_RELAXED)

void locum_status_begin(struct locum_status_page *page) { ADD(active, 1); }

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
    struct locum_status_page copy = {GET(invocations), GET(rows), GET(last_active_ns), GET(first_answer_ns), GET(ready_ns), GET(active)};
    return copy;
}
