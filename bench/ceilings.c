// What one core does with the instructions that V8 makes of WASM SIMD, registers only: eight independent chains of
// multiply and add. cc -O2 -mavx2 -mfma bench/ceilings.c -o build/ceilings && build/ceilings
#include <immintrin.h>
#include <stdio.h>
#include <time.h>

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

#define EIGHT(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define ROUNDS 200000000L

// The empty asm keeps the compiler from merging or dropping a chain.
#define KEEP(c) __asm__ volatile("" : "+x"(c))
#define PAIRS(k)                                                             \
  {                                                                          \
    __m128i t;                                                               \
    __asm__ volatile("vpmaddwd %2,%1,%0" : "=x"(t) : "x"(a), "x"(b));        \
    c##k = _mm_add_epi32(c##k, t);                                           \
    KEEP(c##k);                                                              \
  }
#define BYTES(k)                                                             \
  {                                                                          \
    __m128i t;                                                               \
    __asm__ volatile("vpmaddubsw %2,%1,%0" : "=x"(t) : "x"(a), "x"(b));      \
    c##k = _mm_add_epi16(c##k, t);                                           \
    KEEP(c##k);                                                              \
  }
#define FLOATS(k) __asm__ volatile("vfmadd231ps %1,%2,%0" : "+x"(f##k) : "x"(x), "x"(y));

#define TIME(name, body, macs)                                               \
  {                                                                          \
    double start = seconds();                                                \
    for (long i = 0; i < ROUNDS; i++) {                                      \
      EIGHT(body)                                                            \
    }                                                                        \
    printf("%-22s %5.1f MAC/ns\n", name, ROUNDS * (macs) / (seconds() - start) / 1e9); \
  }

int main(void) {
  __m128i a = _mm_set1_epi16(3), b = _mm_set1_epi16(5);
  __m128i c0 = a, c1 = a, c2 = a, c3 = a, c4 = a, c5 = a, c6 = a, c7 = a;
  __m128 x = _mm_set1_ps(1), y = x, f0 = x, f1 = x, f2 = x, f3 = x, f4 = x, f5 = x, f6 = x, f7 = x;
  TIME("f32 vfmadd231ps", FLOATS, 32.0)
  TIME("pmaddwd + paddd", PAIRS, 64.0)
  TIME("pmaddubsw + paddw", BYTES, 128.0)
  return 0;
}
