// What a hostile worker would try, one function per attempt, and how a test starts the probe program under
// another uid. For tests only.
#pragma once
#include <stdbool.h>
#include <sys/types.h>

/// Number of attempts.
int probe_count(void);
/// Name of attempt `index`.
const char *probe_name(int index);
/// Whether it may be tried outside a sandbox to show that it would succeed there.
bool probe_harmless(int index);
/// Makes the attempt: what the kernel answered, or -errno.
long probe_run(int index);
/// Index by name; -1 when there is none.
int probe_find(const char *name);

/// Starts `executable` (descriptor) as `uid` with arguments {"locum-probe", mode, NULL}, the two filters as
/// descriptors 4 and 5, and pipes at 0 and 1 whose other ends come back. Returns its pid.
pid_t probe_launch(int executable, uid_t uid, const char *mode, int expert, int router, int *input, int *output);

/// Counts the calling thread and waits for ever.
void probe_park(void);
/// Waits until `count` threads are parked.
void probe_await_parked(int count);
