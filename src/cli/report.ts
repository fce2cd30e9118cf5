import pc from 'picocolors';
import { ThinferError } from '../errors.js';

/** Runs a command; an error of ours is one red line and exit status 1, any other keeps its stack. */
export async function reported(command: () => Promise<void>): Promise<void> {
  try {
    await command();
  } catch (error) {
    if (!(error instanceof ThinferError)) throw error;
    console.error(pc.red(`thinfer: ${error.message}`));
    process.exitCode = 1;
  }
}

/** The middle of a sorted copy. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
