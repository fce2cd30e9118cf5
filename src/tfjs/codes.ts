import type { io } from '@tensorflow/tfjs-core';

/** 8-bit weights as a converter of TensorFlow.js wrote them: real = scale * (code - zeroPoint). */
export interface KeptCodes {
  codes: Uint8Array;
  scale: number;
  /** 0..255 */
  zeroPoint: number;
}

/** An IO handler that remembers the codes of quantised weights, by the names of the weights. */
export interface CodesHandler extends io.IOHandler {
  readonly codes: ReadonlyMap<string, KeptCodes>;
}

/** How far from a whole number a zero point may be that was written as `min`, an f32. */
const ZERO_TOLERANCE = 1e-3;

/**
 * Wraps an IO handler for `tf.loadLayersModel` and `tf.loadGraphModel`: tfjs expands weights that a file has as 8-bit codes
 * to f32 when it loads them; what this one saw of them stays codes when the model is accelerated.
 *
 * uint8 weights with a step and a least value become `int8`, with the same numbers to the rounding of an f32. Those whose
 * range does not hold 0 on a step, uint16 and float16 ones are taken as tfjs expands them: uint16 has more steps than any
 * format of 16 bits or fewer here; float16 is found again by its values.
 */
export function keepCodes(handler: io.IOHandler): CodesHandler {
  const codes = new Map<string, KeptCodes>();
  return {
    ...handler,
    codes,
    load: async () => {
      const artifacts = await handler.load!();
      remember(artifacts, codes);
      return artifacts;
    },
  };
}

function remember({ weightSpecs = [], weightData }: io.ModelArtifacts, codes: Map<string, KeptCodes>): void {
  if (!weightData) return;
  const bytes = joined(weightData);
  let offset = 0;
  for (const { name, shape, dtype, quantization } of weightSpecs) {
    const count = shape.reduce((product, dim) => product * dim, 1);
    if (dtype === 'string') return;
    const stored = quantization ? bytesOf(quantization.dtype) : dtype === 'bool' ? 1 : dtype === 'complex64' ? 8 : 4;
    const { scale, min } = quantization ?? {};
    if (quantization?.dtype === 'uint8' && dtype === 'float32' && scale !== undefined && min !== undefined) {
      const zero = -min / scale;
      const zeroPoint = Math.round(zero);
      if (scale > 0 && Math.abs(zero - zeroPoint) < ZERO_TOLERANCE && zeroPoint >= 0 && zeroPoint <= 255) {
        codes.set(name, { codes: bytes.slice(offset, offset + count), scale, zeroPoint });
      }
    }
    offset += count * stored;
  }
}

const bytesOf = (dtype: string): number => (dtype === 'uint8' ? 1 : dtype === 'uint16' || dtype === 'float16' ? 2 : 4);

function joined(data: io.WeightData): Uint8Array {
  const parts = Array.isArray(data) ? data : [data];
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(new Uint8Array(part), at);
    at += part.byteLength;
  }
  return bytes;
}
