import probeBase64 from 'thinfer:wasm/probe';
import { decodeBase64 } from './base64.js';

/**
 * A: relaxed SIMD with an exact 8-bit dot in one instruction. B: relaxed SIMD without, on x64 (pmaddubsw).
 * C: plain SIMD128.
 */
export type ModuleName = 'A' | 'B' | 'C';

export interface Engine {
  simd: boolean;
  relaxedSimd: boolean;
  /** What `i32x4.relaxed_dot_i8x16_i7x16_add_s` makes of an 8-bit second operand, when it is exact. */
  dot: 'usdot' | 'sdot' | undefined;
  /** `i16x8.relaxed_dot_i8x16_i7x16_s` takes an unsigned 8-bit second operand, and is exact while sums fit 16 bits. */
  maddubs: boolean;
  x86: boolean;
}

/** () -> v128: i8x16.splat(0), the smallest module that needs SIMD. */
const SIMD_MODULE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11,
]);

let engine: Engine | undefined;

/** What this engine can do, found by running fixed vectors through it: nothing is assumed from names or versions. */
export function probeEngine(): Engine {
  if (engine) return engine;
  const bytes = decodeBase64(probeBase64);
  if (!WebAssembly.validate(bytes)) {
    engine = {
      simd: WebAssembly.validate(SIMD_MODULE),
      relaxedSimd: false,
      dot: undefined,
      maddubs: false,
      x86: false,
    };
    return engine;
  }
  const exports = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports as unknown as {
    prepare(): void;
    classify(): number;
    isMaddubs(): number;
    isX86(): number;
  };
  exports.prepare();
  const kinds = [undefined, 'usdot', 'sdot'] as const;
  engine = {
    simd: true,
    relaxedSimd: true,
    dot: kinds[exports.classify()],
    maddubs: exports.isMaddubs() === 1,
    x86: exports.isX86() === 1,
  };
  return engine;
}

/** The fastest module that is exact on this engine. */
export function chooseModule({ relaxedSimd, dot, maddubs }: Engine): ModuleName {
  if (relaxedSimd && dot) return 'A';
  return relaxedSimd && maddubs ? 'B' : 'C';
}
