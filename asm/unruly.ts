// Kernels that behave badly on other threads than the caller's, for the tests of the pool (src/wasm/pool).
// A job is u32 { the caller's scratch, 1 once another thread has begun, counts of the tiles ... }.

export function heap_base(): usize {
  return __heap_base;
}

/** Adds 1 to each tile's count. */
export function count(job: usize, begin: u32, end: u32, scratch: usize): void {
  for (let tile = begin; tile < end; tile++) atomic.add<u32>(job + 8 + tile * 4, 1);
}

/** True on other threads; the caller's waits until one of those has begun. */
function elsewhere(job: usize, scratch: usize): bool {
  if (scratch != load<usize>(job)) {
    atomic.store<u32>(job + 4, 1);
    return true;
  }
  while (atomic.load<u32>(job + 4) == 0);
  return false;
}

/** Throws elsewhere. */
export function trap(job: usize, begin: u32, end: u32, scratch: usize): void {
  if (elsewhere(job, scratch)) unreachable();
}

/** Never returns elsewhere. */
export function hang(job: usize, begin: u32, end: u32, scratch: usize): void {
  if (elsewhere(job, scratch)) while (atomic.load<u32>(job + 4) != 0);
}

/** Throws in the caller's thread. */
export function trap_here(job: usize, begin: u32, end: u32, scratch: usize): void {
  if (!elsewhere(job, scratch)) unreachable();
}
