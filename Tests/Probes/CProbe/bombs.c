// What takes memory without end, and counters that outlive a process.
#include "CProbe.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static unsigned *counters;

void probe_share(void) {
    counters = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (counters == MAP_FAILED) abort();
}

unsigned probe_count_up(int index) { return __atomic_add_fetch(&counters[index], 1, __ATOMIC_RELAXED); }

void probe_heap_bomb(void) {
    for (;;) {
        char *block = malloc(1 << 20);
        if (!block) abort();
        memset(block, 1, 1 << 20);
    }
}

void probe_stack_bomb(void) {
    volatile char room[4096];
    room[0] = 1;
    probe_stack_bomb();
    room[1] = room[0]; // keeps the call from becoming a jump
}
