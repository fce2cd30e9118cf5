// Packages that the user installed beside ours, or not.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface Package {
  folder: string;
  version: string;
  /** What `require` would load. */
  main(): string;
}

/** From the working folder upwards, then from this file. */
export function findPackage(name: string): Package | undefined {
  for (const start of [process.cwd(), dirname(fileURLToPath(import.meta.url))]) {
    for (let at = start; ; at = dirname(at)) {
      const folder = join(at, 'node_modules', name);
      const manifest = join(folder, 'package.json');
      if (existsSync(manifest)) {
        const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };
        return { folder, version, main: () => createRequire(join(at, 'package.json')).resolve(name) };
      }
      if (dirname(at) === at) break;
    }
  }
  return undefined;
}
