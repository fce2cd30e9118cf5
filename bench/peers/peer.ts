import type { Contestant } from '../../src/bench/race.js';
import type { MatmulProblem } from '../../src/plan/problem.js';
import type { OperatorCase } from '../operators.js';
import type { Product } from '../problems.js';
import type { Shape } from '../shapes.js';
import type { PeerKind, PeerName } from '../types.js';
import type { GroupedInt4 } from './int4.js';

/** Weights [N, K] (convolutions: OHWI) of every kind that a peer may be given, and the input. */
export interface PeerInputs {
  shape: Shape;
  problem: MatmulProblem;
  x: Float32Array;
  f32(): Float32Array;
  /** One scale a row, symmetric. */
  int8(): { codes: Int8Array; scale: Float32Array };
  int4(): GroupedInt4;
  /** 8-bit weights times codes, to codes and to int32 sums: x, and in the problem what codes mean. */
  codes(): Product;
  sums(): Product;
}

/** One operator of a peer, loaded with its weights. */
export interface PeerContestant extends Contestant {
  /** The answer of one run, [M, N] (convolutions: NHWC). */
  read(): Promise<ArrayLike<number>>;
  free(): void;
}

/** One operator that a peer has. */
export interface PeerOperator {
  kind: PeerKind;
  /** As the peer names it. */
  what: string;
  /** False where the peer has no such operator for the shape. */
  supports(shape: Shape): boolean;
  make(inputs: PeerInputs): Promise<PeerContestant>;
}

/** A runtime that is loaded and ready. */
export interface Peer {
  name: PeerName;
  operators: readonly PeerOperator[];
  /** An operator without weights on given inputs, or undefined where the peer has none. */
  weightless?(
    name: string,
    operator: OperatorCase,
    inputs: readonly Float32Array[],
  ): Promise<PeerContestant> | undefined;
}

export const isDepthwise = (shape: Shape): boolean =>
  shape.op === 'conv2d' && shape.groups > 1 && shape.groups === shape.channels && shape.groups === shape.outputs;

export const isPlainConv = (shape: Shape): boolean => shape.op === 'conv2d' && shape.groups === 1;

/** [N, K] to [K, N]. */
export function transposed<T extends Float32Array | Int8Array>(values: T, N: number, K: number): T {
  const out = new (values.constructor as new (length: number) => T)(values.length);
  for (let n = 0; n < N; n++) for (let k = 0; k < K; k++) out[k * N + n] = values[n * K + k];
  return out;
}

/** Matrices of `pixels` x `channels`, one an image or filter: channels last to channels first. */
export function channelsFirst<T extends Float32Array | Int8Array | Uint8Array>(
  values: T,
  pixels: number,
  channels: number,
): T {
  const out = new (values.constructor as new (length: number) => T)(values.length);
  for (let i = 0; i < values.length; i += pixels * channels) {
    for (let p = 0; p < pixels; p++) {
      for (let c = 0; c < channels; c++) out[i + c * pixels + p] = values[i + p * channels + c];
    }
  }
  return out;
}

/** The other way round, for an answer of one image. */
export function channelsLast(values: ArrayLike<number>, pixels: number, channels: number): Float64Array {
  const out = new Float64Array(values.length);
  for (let p = 0; p < pixels; p++) {
    for (let c = 0; c < channels; c++) out[p * channels + c] = values[c * pixels + p];
  }
  return out;
}
