let step: number | undefined;

/** The smallest step of `performance.now()`: 5 us in pages that are isolated, 100 us or more in others. */
export function clockStepMs(): number {
  step ??= measure();
  return step;
}

const GIVE_UP_MS = 20;

function measure(): number {
  let least = Number.POSITIVE_INFINITY;
  const start = performance.now();
  for (let before = start, steps = 0; steps < 10 && before - start < GIVE_UP_MS; ) {
    const now = performance.now();
    if (now === before) continue;
    least = Math.min(least, now - before);
    before = now;
    steps++;
  }
  return least;
}
