/** A tensor that needs memory from the step that writes it to the last step that reads it, both inclusive. */
export interface Lifetime {
  /** Chosen by the caller. */
  id: number;
  bytes: number;
  first: number;
  last: number;
}

/** Buffers shared by tensors that do not live at the same time. */
export interface MemoryPlan {
  /** Bytes of each buffer. */
  slots: number[];
  /** Which buffer a tensor lies in, from its first byte on. */
  slotOf: Map<number, number>;
  /** Sum of `slots`: what the device will hold. */
  peakBytes: number;
  /** What a buffer for each tensor would take. */
  unsharedBytes: number;
  /** The most bytes that live at one step: no plan can take less. */
  liveBytes: number;
}

function overlap(a: Lifetime, b: Lifetime): boolean {
  return a.first <= b.last && b.first <= a.last;
}

/**
 * Assigns tensors to as few bytes of buffers as a greedy choice finds: largest first, each into the smallest buffer
 * that is free for its whole life, else into a new one. Pure; tensors of equal size are taken in the order given.
 */
export function planMemory(lifetimes: readonly Lifetime[]): MemoryPlan {
  const tenants: Lifetime[][] = [];
  const slots: number[] = [];
  const slotOf = new Map<number, number>();
  const largestFirst = [...lifetimes].sort((a, b) => b.bytes - a.bytes);
  for (const lifetime of largestFirst) {
    // Slots were made largest first, so every slot is large enough and the last free one is the smallest.
    let slot = tenants.findLastIndex((others) => !others.some((other) => overlap(lifetime, other)));
    if (slot < 0) {
      slot = slots.push(lifetime.bytes) - 1;
      tenants.push([]);
    }
    tenants[slot].push(lifetime);
    slotOf.set(lifetime.id, slot);
  }
  return {
    slots,
    slotOf,
    peakBytes: slots.reduce((a, b) => a + b, 0),
    unsharedBytes: lifetimes.reduce((a, { bytes }) => a + bytes, 0),
    liveBytes: largestLive(lifetimes),
  };
}

function largestLive(lifetimes: readonly Lifetime[]): number {
  const changes = lifetimes.flatMap(({ bytes, first, last }) => [
    { step: first, bytes },
    { step: last + 1, bytes: -bytes },
  ]);
  changes.sort((a, b) => a.step - b.step || a.bytes - b.bytes);
  let live = 0;
  let most = 0;
  for (const { bytes } of changes) {
    live += bytes;
    most = Math.max(most, live);
  }
  return most;
}
