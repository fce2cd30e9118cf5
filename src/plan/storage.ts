// Where choices stay between runs of a program: IndexedDB in browsers, a file in the user's cache folder in Node.

import { createStore, get, type UseStore, update } from 'idb-keyval';

/** A place for one JSON value a name. May fail at any time: then devices are timed again. */
export interface ChoiceStorage {
  load(name: string): Promise<unknown>;
  /** Replaces what is there, `undefined` at first, by what `change` makes of it. */
  update(name: string, change: (old: unknown) => unknown): Promise<void>;
}

/** IndexedDB: one transaction an update, so that tabs don't overwrite each other's. */
class BrowserStorage implements ChoiceStorage {
  readonly #store: UseStore = createStore('thinfer', 'choices');

  load(name: string): Promise<unknown> {
    return get(name, this.#store);
  }

  update(name: string, change: (old: unknown) => unknown): Promise<void> {
    return update(name, change, this.#store);
  }
}

/** A folder of JSON files. Each is replaced as a whole: a reader finds the old one or the new one. */
export class FolderStorage implements ChoiceStorage {
  readonly #folder: string;
  readonly #fs = process.getBuiltinModule('node:fs/promises');

  constructor(folder: string) {
    this.#folder = folder;
  }

  async load(name: string): Promise<unknown> {
    const text = await this.#fs.readFile(this.#fileOf(name), 'utf8').catch(() => undefined);
    return text === undefined ? undefined : JSON.parse(text);
  }

  async update(name: string, change: (old: unknown) => unknown): Promise<void> {
    const old = await this.load(name).catch(() => undefined);
    await this.#fs.mkdir(this.#folder, { recursive: true });
    const file = this.#fileOf(name);
    const aside = `${file}.${process.pid}.${Math.random().toString(36).slice(2)}.tmp`;
    await this.#fs.writeFile(aside, JSON.stringify(change(old)));
    await this.#fs.rename(aside, file);
  }

  #fileOf(name: string): string {
    return `${this.#folder}/${name.replace(/[^\w.-]/g, '_')}.json`;
  }
}

/** The storage of this engine, or undefined where there is none. */
export async function platformStorage(): Promise<ChoiceStorage | undefined> {
  if (globalThis.process?.versions?.node) {
    // Not a literal, so that bundlers for browsers leave the package alone.
    const name = 'env-paths';
    const { default: envPaths } = await import(/* @vite-ignore */ /* webpackIgnore: true */ name);
    return new FolderStorage(envPaths('thinfer', { suffix: '' }).cache);
  }
  return globalThis.indexedDB ? new BrowserStorage() : undefined;
}
