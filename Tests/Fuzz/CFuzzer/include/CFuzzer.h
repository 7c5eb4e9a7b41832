// libFuzzer's way in for a program that has a main of its own:
// https://llvm.org/docs/LibFuzzer.html#using-libfuzzer-as-a-library
#pragma once
#include <stddef.h>
#include <stdint.h>

/// Runs libFuzzer with the options and corpora in argv[1…]; calls `one` with each input, which answers 0.
int locum_fuzz(int argc, char **argv, int (*one)(const uint8_t *data, size_t size));
