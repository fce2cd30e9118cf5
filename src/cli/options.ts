import type { ArgsDef } from 'citty';
import { describe, requireInteger } from '../errors.js';
import { wrongUsage } from './command.js';

/** Options of every command that runs a model of a file. */
export const modelArgs = {
  model: { type: 'positional' as const, required: true, description: 'An ONNX or TensorFlow Lite file' },
  backend: {
    type: 'enum' as const,
    options: ['wasm', 'webgpu'],
    description: 'Only there. Default: wherever it is faster',
  },
  threads: { type: 'string' as const, description: 'WASM threads; default: the cores, up to 8' },
  shape: { type: 'string' as const, description: 'Sizes of an input with open dimensions, e.g. image=1x3x224x224' },
  html: { type: 'string' as const, description: 'Write the report to this file, as a page' },
  json: { type: 'boolean' as const, default: false, description: 'Print the report as JSON only' },
} satisfies ArgsDef;

/** A whole number from 1. */
export function integer(text: string, option: string, max: number): number {
  const value = Number(text);
  requireInteger(value, option, { min: 1, max });
  return value;
}

/** A number in [min, max]. */
export function numberOf(text: string, option: string, min: number, max: number): number {
  const value = Number(text);
  if (text.trim() !== '' && value >= min && value <= max) return value;
  throw wrongUsage(option, `a number in ${min}..${max}`, describe(text));
}

/** A list of different whole numbers from 1. */
export const integersOf = (text: string, option: string, max: number): number[] => [
  ...new Set(text.split(',').map((part) => integer(part, option, max))),
];

/** A list of words out of a few; `none` is the empty one. */
export function choicesOf<T extends string>(text: string, option: string, choices: readonly T[]): T[] {
  if (text === 'none') return [];
  const words = [...new Set(text.split(',').filter(Boolean))];
  const odd = words.find((word) => !(choices as readonly string[]).includes(word));
  if (odd !== undefined) throw wrongUsage(option, `some of ${choices.join(', ')}, or none`, describe(odd));
  return words as T[];
}

/** A list with commas. */
export const listOf = (text: string | undefined): string[] => text?.split(',').filter(Boolean) ?? [];

/** `--threads`, checked. */
export const threadsOf = (text: string | undefined): number | undefined =>
  text === undefined ? undefined : integer(text, '--threads', 64);
