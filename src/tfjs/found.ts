import { describe, ThinferError } from '../errors.js';
import { int8, type Weights } from '../formats/index.js';
import type { KeptCodes } from './codes.js';
import type { Host } from './host.js';
import { type Filter, type FormatSpec, filterOf, Operator, type OperatorSpec, packFilter } from './operator.js';

/** What a layer or node does after its product, folded into it: y * scale + shift, a channel each. */
export interface Affine {
  scale: Float32Array;
  shift: Float32Array;
}

/** An operator with constant weights that was found in a model. */
export interface Found extends Omit<OperatorSpec, 'weights'> {
  /** Of the layer or node; formats are chosen by it. */
  name: string;
  /** Class of the layer, or operator of the node. */
  op: string;
  /** As tfjs has them. */
  values: Float32Array;
  shape: readonly number[];
  transposed?: boolean;
  codes?: KeptCodes;
  affine?: Affine;
  /** Layers or nodes that need not run any more. */
  absorbed: string[];
}

/**
 * `auto` for all layers, or a record: a format a name; `*` stands for those that are not named, but for depthwise
 * convolutions.
 */
export type Formats = 'auto' | Readonly<Record<string, FormatSpec>>;

export interface Replaced {
  name: string;
  op: string;
  format: Weights['format'];
  /** Bytes of the packed weights, and of what tfjs has. */
  bytes: number;
  denseBytes: number;
  /** What it does besides: batch norm, activation, padding, by their names. */
  absorbed: string[];
}

export interface Kept {
  name: string;
  op: string;
  why: string;
}

/** @throws ThinferError `bad-argument` for names that are in no list of names */
export function requireNames(formats: Formats, names: readonly string[]): void {
  if (formats === 'auto') return;
  const unknown = Object.keys(formats).filter((name) => name !== '*' && !names.includes(name));
  if (unknown.length === 0) return;
  throw new ThinferError({
    code: 'bad-argument',
    place: 'accelerate: formats',
    expected: `layer names out of ${names.map((name) => JSON.stringify(name)).join(', ') || '(the model has none)'}`,
    got: unknown.map((name) => JSON.stringify(name)).join(', '),
    hint: "'*' stands for all layers that are not named.",
  });
}

/**
 * Packs what was found and makes it an operator.
 * @throws ThinferError `bad-weights` or `bad-argument` where the format can't hold the weights
 */
export function makeOperator(host: Host, found: Found, formats: Formats): { operator: Operator; replaced: Replaced } {
  const { name, op, kind, affine, absorbed } = found;
  const weights = packFound(found, formats);
  const operator = new Operator(host, {
    kind,
    weights,
    bias: biasOf(found.bias, affine),
    activation: found.activation,
    window: found.window,
    channels: found.channels,
  });
  const { facts } = operator.layer;
  const replaced = {
    name,
    op,
    format: weights.format,
    bytes: facts.bytes,
    denseBytes: 4 * found.values.length,
    absorbed,
  };
  return { operator, replaced };
}

/** The format that is chosen for a layer or node. */
function specOf({ name, kind }: Found, formats: Formats): FormatSpec {
  if (formats === 'auto') return 'auto';
  if (Object.hasOwn(formats, name)) return formats[name];
  // Their few weights are no bytes to save, and int8 is no faster there, but less exact.
  return kind === 'depthwiseConv2d' ? 'auto' : (formats['*'] ?? 'auto');
}

/**
 * Packs the weights of what was found.
 * @throws ThinferError `bad-weights` or `bad-argument` where the format can't hold the weights
 */
export function packFound(found: Found, formats: Formats): Weights {
  const { kind, values, shape, transposed, codes, affine } = found;
  const spec = specOf(found, formats);
  if (typeof spec !== 'string' && (typeof spec !== 'object' || spec === null)) {
    throw new ThinferError({
      code: 'bad-argument',
      place: 'formats',
      expected: "'auto', the name of a format, or { format, ... }",
      got: describe(spec),
    });
  }
  if (spec === 'auto' && codes) {
    const packed = packCodes(codes, kind, shape, transposed, affine);
    if (packed) return packed;
  }
  const filter = filterOf(kind, values, shape, transposed);
  if (affine) scaleRows(filter, affine.scale);
  return packFilter(filter, spec);
}

function scaleRows({ values, rows, cols }: Filter, scale: Float32Array): void {
  for (let r = 0; r < rows; r++) for (let i = r * cols; i < (r + 1) * cols; i++) values[i] *= scale[r];
}

/** 8-bit codes of tfjs, as they are. Undefined where a folded scale would turn their sign. */
function packCodes(
  { codes, scale, zeroPoint }: KeptCodes,
  kind: Found['kind'],
  shape: readonly number[],
  transposed: boolean | undefined,
  affine: Affine | undefined,
): Weights | undefined {
  if (affine?.scale.some((factor) => !(factor > 0))) return undefined;
  const { values, rows, cols } = filterOf(kind, Float32Array.from(codes), shape, transposed);
  return int8.validate({
    format: 'int8',
    rows,
    cols,
    codes: Int8Array.from(values, (code) => code - 128),
    scale: affine ? affine.scale.map((factor) => factor * scale) : Float32Array.of(scale),
    ...(zeroPoint !== 128 && { zeroPoint: Int8Array.of(zeroPoint - 128) }),
  });
}

function biasOf(bias: Float32Array | undefined, affine: Affine | undefined): Float32Array | undefined {
  if (!affine) return bias;
  return affine.shift.map((shift, n) => shift + (bias?.[n] ?? 0) * affine.scale[n]);
}

/** (x - mean) / sqrt(variance + epsilon) * gamma + beta. */
export function batchNorm(
  mean: Float32Array,
  variance: Float32Array,
  gamma: Float32Array | undefined,
  beta: Float32Array | undefined,
  epsilon: number,
): Affine {
  const scale = mean.map((_, n) => (gamma?.[n] ?? 1) / Math.sqrt(variance[n] + epsilon));
  return { scale, shift: scale.map((factor, n) => (beta?.[n] ?? 0) - mean[n] * factor) };
}
