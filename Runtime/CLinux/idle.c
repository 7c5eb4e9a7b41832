// What a daemon gives back when it has nothing to do. Most of what it holds is code that only its start or its work
// needed, mapped from files: the kernel counts it as ours as long as it is mapped. Unmapped pages stay in the page
// cache, and the next use takes them from there by a minor fault, sixteen at a time.
#define _GNU_SOURCE
#include "CLinux.h"
#include <link.h>
#include <malloc.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

static int give_back_object(struct dl_phdr_info *object, size_t size, void *unused) {
    (void)size, (void)unused;
    // The kernel's own object is no file.
    if (object->dlpi_addr == getauxval(AT_SYSINFO_EHDR)) return 0;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        // Never a writable one, also not where it is read-only by now: its relocated pages are nowhere but here.
        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W)) continue;
        uintptr_t start = (object->dlpi_addr + segment->p_vaddr) & ~(page - 1);
        uintptr_t end = (object->dlpi_addr + segment->p_vaddr + segment->p_memsz + page - 1) & ~(page - 1);
        madvise((void *)start, end - start, MADV_DONTNEED);
    }
    return 0;
}

void locum_give_back(void) {
    malloc_trim(0);
    dl_iterate_phdr(give_back_object, NULL);
}
