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
