// What was measured on devices: kept between runs of a program, and carried between machines as JSON.

import { describe, ThinferError } from '../errors.js';
import { isMatmul, type MatmulProblem, type Problem } from './problem.js';
import type { Measured, Offer } from './select.js';
import type { Device, VariantBase } from './variant.js';

/** How thoroughly a choice was made. */
export type Effort = 'quick' | 'full';

/** The outcome of a contest between rows for one problem on one device. */
export interface Choice extends Measured {
  effort: Effort;
}

/** Rates of a device, from a calibration: those of `Device`. */
export type Rates = Pick<Device, 'macsPerNs' | 'bytesPerNs' | 'dispatchMs' | 'runMs' | 'transfer'>;

export interface DeviceChoices {
  rates?: Rates;
  /** By problem: see `problemKey`. */
  choices: Record<string, Choice>;
}

/** What `Runtime.exportChoices` gives: plain JSON. */
export interface ChoicesFile {
  kind: 'thinfer choices';
  version: 1;
  /** Version of the package: choices of another are of no use. */
  package: string;
  /** By device and engine: see `deviceKey`. */
  devices: Record<string, DeviceChoices>;
}

export const EFFORTS: readonly Effort[] = ['quick', 'full'];
/** More than any program meets: a file with more is not ours. */
const MOST_ENTRIES = 100_000;

/** Densities that differ by less share a choice: steps of 10 %. */
const densityStep = (density: number): number => Math.round(Math.log(density || 1e-6) / Math.log(1.1));

/**
 * What a contest's outcome depends on, as text: sizes, geometry, dtypes, and of the weights the format, its parameters
 * and the density in steps of 10 %.
 */
export function problemKey(p: Problem): string {
  if (!isMatmul(p)) return JSON.stringify(p);
  const { weights, clamp: _, window, ...rest } = p as MatmulProblem;
  const { nnz, bytes: __, ...facts } = weights;
  const density = densityStep(nnz / (p.N * p.K * p.groups));
  return JSON.stringify([Object.values(window), rest, facts, density]);
}

/** What choices on a device depend on: its label, the engine, where it can be known the processor, and our rows for it. */
export function deviceKey({ device: { backend, label }, variants }: Offer): string {
  host ??= describeHost();
  return `${backend}: ${label}; ${host}; table ${tableHash(variants)}`;
}

let host: string | undefined;

function describeHost(): string {
  const { navigator, process } = globalThis;
  const engine = process?.versions?.v8 ? `Node ${process.version}` : (navigator?.userAgent ?? 'unknown engine');
  const os = process?.getBuiltinModule?.('node:os');
  const cores = navigator?.hardwareConcurrency ?? os?.availableParallelism() ?? 0;
  return [os?.cpus()[0]?.model.trim(), `${cores} cores`, engine].filter(Boolean).join('; ');
}

const hashes = new WeakMap<readonly VariantBase[], string>();

/** The names of the rows as a short text. */
function tableHash(variants: readonly VariantBase[]): string {
  let text = hashes.get(variants);
  if (text === undefined) {
    let hash = 0;
    for (const { name } of variants) for (const c of `${name},`) hash = (Math.imul(hash, 31) + c.charCodeAt(0)) | 0;
    text = (hash >>> 0).toString(16);
    hashes.set(variants, text);
  }
  return text;
}

/** Choices of any number of devices. */
export class Choices {
  readonly #version: string;
  readonly #devices = new Map<string, DeviceChoices>();

  /** @param version of the package */
  constructor(version: string) {
    this.#version = version;
  }

  get(device: string, problem: string): Choice | undefined {
    return this.#devices.get(device)?.choices[problem];
  }

  set(device: string, problem: string, choice: Choice): void {
    this.#of(device).choices[problem] = choice;
  }

  rates(device: string): Rates | undefined {
    return this.#devices.get(device)?.rates;
  }

  setRates(device: string, rates: Rates): void {
    this.#of(device).rates = rates;
  }

  #of(device: string): DeviceChoices {
    let known = this.#devices.get(device);
    if (!known) {
      known = { choices: Object.create(null) };
      this.#devices.set(device, known);
    }
    return known;
  }

  toJSON(): ChoicesFile {
    const devices = Object.fromEntries(
      [...this.#devices].map(([key, { rates, choices }]) => [key, { rates, choices }]),
    );
    return { kind: 'thinfer choices', version: 1, package: this.#version, devices: structuredClone(devices) };
  }

  /**
   * Adds what a file holds; what was made with more effort stays.
   * @returns choices that were added; 0 for a file of another version of the package
   * @throws ThinferError `bad-argument` for what is no such file: then nothing was added
   */
  merge(file: unknown): number {
    const { package: version, devices } = readFile(file);
    if (version !== this.#version) return 0;
    let added = 0;
    for (const [device, { rates, choices }] of Object.entries(devices)) {
      const own = this.#of(device);
      own.rates ??= rates;
      for (const [problem, choice] of Object.entries(choices)) {
        const known = own.choices[problem];
        if (known && EFFORTS.indexOf(known.effort) >= EFFORTS.indexOf(choice.effort)) continue;
        own.choices[problem] = choice;
        added++;
      }
    }
    return added;
  }
}

/** Checks a file that came from anywhere, field by field. */
function readFile(file: unknown): ChoicesFile {
  const { kind, version, package: made, devices } = object(file, 'choices');
  if (kind !== 'thinfer choices' || version !== 1) {
    refuse('choices.kind', 'a file of Runtime.exportChoices, version 1', `${describe(kind)}, ${describe(version)}`);
  }
  if (typeof made !== 'string') refuse('choices.package', 'a string', describe(made));
  const checked: Record<string, DeviceChoices> = Object.create(null);
  for (const [key, value] of entries(devices, 'choices.devices')) {
    const place = `choices.devices[${JSON.stringify(key)}]`;
    const { rates, choices } = object(value, place);
    const read: DeviceChoices = { choices: Object.create(null) };
    if (rates !== undefined) read.rates = readRates(rates, `${place}.rates`);
    for (const [problem, choice] of entries(choices, `${place}.choices`)) {
      read.choices[problem] = readChoice(choice, `${place}.choices[${JSON.stringify(problem)}]`);
    }
    checked[key] = read;
  }
  return { kind: 'thinfer choices', version: 1, package: made as string, devices: checked };
}

function readRates(value: unknown, place: string): Rates {
  const { macsPerNs, bytesPerNs, dispatchMs, runMs, transfer } = object(value, place);
  const rates = numbers({ macsPerNs, bytesPerNs, dispatchMs, runMs }, place);
  if (transfer === undefined) return rates;
  const { writeMs, readMs, bytesPerNs: moved } = object(transfer, `${place}.transfer`);
  return { ...rates, transfer: numbers({ writeMs, readMs, bytesPerNs: moved }, `${place}.transfer`) };
}

function readChoice(value: unknown, place: string): Choice {
  const { variant, ms, effort } = object(value, place);
  if (typeof variant !== 'string') refuse(`${place}.variant`, 'the name of a kernel', describe(variant));
  if (!EFFORTS.includes(effort as Effort)) refuse(`${place}.effort`, EFFORTS.join(' or '), describe(effort));
  const times: Record<string, number> = Object.create(null);
  for (const [name, number] of entries(ms, `${place}.ms`)) times[name] = time(number, `${place}.ms.${name}`);
  if (!((variant as string) in times)) refuse(`${place}.ms`, `a time of ${variant}`, 'none');
  return { variant: variant as string, ms: times, effort: effort as Effort };
}

function numbers<K extends string>(values: Record<K, unknown>, place: string): Record<K, number> {
  for (const name in values) time(values[name], `${place}.${name}`);
  return values as Record<K, number>;
}

function time(value: unknown, place: string): number {
  if (typeof value !== 'number' || !(value > 0 && value < Infinity)) {
    refuse(place, 'a finite number above 0', describe(value));
  }
  return value as number;
}

function object(value: unknown, place: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse(place, 'an object', describe(value));
  return value as Record<string, unknown>;
}

function entries(value: unknown, place: string): [string, unknown][] {
  const found = Object.entries(object(value, place));
  if (found.length > MOST_ENTRIES) refuse(place, `at most ${MOST_ENTRIES} entries`, String(found.length));
  return found;
}

function refuse(place: string, expected: string, got: string): never {
  throw new ThinferError({ code: 'bad-argument', place, expected, got, hint: 'Tune again and export anew.' });
}
