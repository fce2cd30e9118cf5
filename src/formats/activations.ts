import type { Quantization } from '../plan/problem.js';
import type { DecodedActivations } from './format.js';

/** How one sample of activations becomes unsigned 8-bit codes: code = clamp(round(x * inverse) + zeroPoint, 0, 255). */
export interface SampleQuantization {
  inverse: number;
  /** real = scale * (code - zeroPoint); NaN when the sample's range is not finite, so that its outputs are NaN. */
  scale: number;
  zeroPoint: number;
}

const bitsOf = new DataView(new ArrayBuffer(4));
/** Ranges from here on are treated as infinite, those under SMALLEST_RANGE as zero: keeps exponents normal. */
const LARGEST_RANGE = 2 ** 117;
const SMALLEST_RANGE = 2 ** -100;

/**
 * The quantisation of a sample whose values lie in [min, max]. Zero is always representable exactly.
 *
 * Every backend must find the same codes, and GPUs do not divide exactly. So the inverse scale
 * 255 / (max - min) is found with an integer division, rounded down to 17 bits; after that only single f32
 * multiplications, which are exact to the last bit everywhere, and round-half-to-even touch the values.
 */
export function quantizeSample(min: number, max: number): SampleQuantization {
  const low = Math.min(min, 0);
  const range = Math.fround(Math.max(max, 0) - low);
  if (!(range < LARGEST_RANGE)) return { inverse: 0, scale: Number.NaN, zeroPoint: 0 };
  if (range < SMALLEST_RANGE) return { inverse: 0, scale: 0, zeroPoint: 0 };
  bitsOf.setFloat32(0, range);
  const bits = bitsOf.getUint32(0);
  const exponent = bits >>> 23;
  const mantissa16 = (((bits & 0x7fffff) | 0x800000) + 0xff) >>> 8;
  const quotient = Math.floor(0xff000000 / mantissa16);
  const inverse = quotient * 2 ** (118 - exponent);
  return { inverse, scale: Math.fround(1 / inverse), zeroPoint: roundHalfEven(Math.fround(-low * inverse)) };
}

export function quantizeValue(x: number, { inverse, zeroPoint }: SampleQuantization): number {
  return Math.min(Math.max(roundHalfEven(Math.fround(x * inverse)) + zeroPoint, 0), 255);
}

/** Infinities stay as they are. */
export function roundHalfEven(x: number): number {
  if (!Number.isFinite(x)) return x;
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/** The codes of a dtype. */
export function codeRange(dtype: Quantization['dtype']): [min: number, max: number] {
  return dtype === 'uint8' ? [0, 255] : [-128, 127];
}

/**
 * The code of a value under a quantisation that is given: ONNX's QuantizeLinear, saturate(roundHalfEven(x / scale) +
 * zeroPoint), the quotient rounded to f32. A NaN, which ONNX leaves open, gets the zero point.
 */
export function quantizeLinear(x: number, { dtype, scale, zeroPoint }: Quantization): number {
  const [min, max] = codeRange(dtype);
  const steps = Number.isNaN(x) ? 0 : roundHalfEven(Math.fround(x / Math.fround(scale)));
  return Math.min(Math.max(steps + zeroPoint, min), max);
}

/** Activations under a quantisation that is given: integers -255..255, code - zero point, of codes or of f32 values. */
export function givenActivations(
  x: Float32Array | Uint8Array | Int8Array,
  samples: number,
  quantization: Quantization,
): DecodedActivations {
  const { zeroPoint } = quantization;
  const codeOf = x instanceof Float32Array ? (value: number) => quantizeLinear(value, quantization) : Number;
  return {
    values: Float64Array.from(x, (value) => codeOf(value) - zeroPoint),
    sampleScale: new Float64Array(samples).fill(Math.fround(quantization.scale)),
  };
}

/**
 * The activations of every format that multiplies by 8-bit ones: integers -255..255, code - zero point of each
 * sample. A sample with a NaN, an infinity or a range too large for f32 decodes to zeros with a NaN scale: its
 * outputs are NaN, those of its neighbours are not.
 */
export function quantizedActivations(x: Float32Array, samples: number): DecodedActivations {
  const size = x.length / samples;
  const values = new Float64Array(x.length);
  const sampleScale = new Float64Array(samples);
  for (let s = 0; s < samples; s++) {
    let min = Infinity;
    let max = -Infinity;
    for (let i = s * size; i < (s + 1) * size; i++) {
      min = Math.min(min, x[i]);
      max = Math.max(max, x[i]);
    }
    const quantization = quantizeSample(min, max);
    sampleScale[s] = quantization.scale;
    if (Number.isNaN(quantization.scale)) continue;
    for (let i = s * size; i < (s + 1) * size; i++) {
      values[i] = quantizeValue(x[i], quantization) - quantization.zeroPoint;
    }
  }
  return { values, sampleScale };
}
