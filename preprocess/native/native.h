// The compiled loops of preprocess: how they are compiled, and what holds for all of them.
//
// Every number is exact or has one defined order of operations, so that all processors give the same bytes.

#pragma once

// Compiled twice; the processor at hand decides when the library is loaded.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define VECTORISED __attribute__((target_clones("avx2", "default")))
#else
#define VECTORISED
#endif

// Into a function that is VECTORISED, so that it is compiled with it.
#define INLINE inline __attribute__((always_inline))
