import pc from 'picocolors';
import { ThinferError } from '../errors.js';
import { EXIT } from './exit.js';

/** Runs a command; an error of ours is one red line, any other keeps its stack. */
export async function reported(command: () => Promise<void>): Promise<void> {
  try {
    await command();
  } catch (error) {
    if (!(error instanceof ThinferError)) throw error;
    console.error(pc.red(`thinfer: ${error.message}`));
    const mistyped = error.code === 'bad-argument' && error.place.startsWith('--');
    process.exitCode = mistyped ? EXIT.usage : EXIT.failed;
  }
}
