import type { BcsrWeights } from './bcsr.js';
import type { BinaryWeights } from './binary.js';
import type { CodebookWeights } from './codebook.js';
import type { CsrWeights } from './csr.js';
import type { CsrCodebookWeights } from './csr-codebook.js';
import type { CsrInt8Weights } from './csr-int8.js';
import type { DenseWeights } from './dense.js';
import type { F16Weights } from './f16.js';
import type { AnyGrouped } from './grouped.js';
import type { Int8Weights } from './int8.js';
import type { NmWeights } from './nm.js';
import type { TernaryWeights } from './ternary.js';
import type { XnorWeights } from './xnor.js';

/** Weights in any format. All are matrices of `rows` (N, output channels) x `cols` (K). */
export type Weights =
  | DenseWeights
  | F16Weights
  | CsrWeights
  | BcsrWeights
  | NmWeights
  | Int8Weights
  | AnyGrouped
  | CodebookWeights
  | TernaryWeights
  | BinaryWeights
  | XnorWeights
  | CsrInt8Weights
  | CsrCodebookWeights;
export type FormatName = Weights['format'];

/**
 * [rows]: what is added to the sums of a row. f32 after all scales; int32, for outputs of `int32`, `uint8` and `int8`,
 * before them: in units of the input's scale times the row's.
 */
export type Bias = Float32Array | Int32Array;

/**
 * The size of a weight matrix: `rows` = N output channels, `cols` = K inputs of each.
 * Convolution weights are such a matrix too: OHWI order, so `rows` = output channels and
 * `cols` = kernelHeight * kernelWidth * (inputChannels / groups).
 */
export interface MatrixShape {
  rows: number;
  cols: number;
}

/** What the oracle multiplies: weights as exact numbers, with the scale of each row kept apart. */
export interface DecodedWeights {
  /** [rows, cols]: floats, or the integers that the format's arithmetic sums (zero point removed). */
  values: Float64Array;
  /** [rows]; 1 where the format has no scale. */
  rowScale: Float64Array;
  /**
   * f32 arithmetic with weights left out: [rows, cols], 0 where nothing is stored and no product is made, so that not
   * even an infinity counts. Absent: every weight is multiplied.
   */
  stored?: Uint8Array;
}

/** What the oracle multiplies by: activations in the domain of the format's arithmetic. */
export interface DecodedActivations {
  /** Same order as the input. */
  values: Float64Array;
  /** One a sample (a row of linear, an image of conv2d). */
  sampleScale: Float64Array;
}

/** One weight format: how it is made, checked, measured, and what its arithmetic means. */
export interface Format<W extends Weights = Weights, Options = object> {
  readonly name: W['format'];
  /** From dense row-major f32 [rows, cols]. Throws ThinferError on non-finite values or wrong lengths. */
  pack(dense: Float32Array, options: MatrixShape & Options): W;
  /** Back to dense row-major f32 [rows, cols]: what the packed weights really mean. */
  unpack(weights: W): Float32Array;
  /** Throws ThinferError unless every length, index, code and scale is sound. Returns its argument. */
  validate(weights: W, place?: string): W;
  /** Bytes of the packed weights: codes, indices and scales. */
  bytes(weights: W): number;
  /** The oracle's view of weights. */
  decode(weights: W): DecodedWeights;
  /**
   * The oracle's view of activations.
   * @param samples how many equal consecutive parts of `x` are quantised on their own
   * @param weights what they are multiplied by: `codebook` has two kinds of arithmetic, f32 without this argument
   */
  decodeActivations(x: Float32Array, samples: number, weights?: W): DecodedActivations;
}
