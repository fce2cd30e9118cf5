import { Job } from '../shared/job';
import { MAGIC } from '../shared/outputs';
import { clamp } from '../shared/simd';

// 8-bit codes in, codes out: quantise, dequantise, look up, add and multiply. Tiles are blocks of 4096 elements, of
// `code_binary` such parts of rows of the output. src/graph/reference.ts says what they are, to the last bit.

const BLOCK: u32 = 4096;
const OUTER: u32 = 5;

@unmanaged
class QuantizeJob extends Job {
  size: u32;
  scale: f32;
  zeroPoint: i32;
  signed: u32;
}

@unmanaged
class DequantizeJob extends Job {
  size: u32;
  scale: f32;
  zeroPoint: i32;
  /** 0 uint8, 1 int8, 2 int32. */
  kind: u32;
}

@unmanaged
class LookupJob extends Job {
  size: u32;
  // Then 256 bytes.
}

@unmanaged
class CodeBinaryJob extends Job {
  /** 0 qAdd, 1 qMul, 2 fixedAdd and fixedSub, 3 fixedMul. */
  kind: u32;
  cols: u32;
  /** Stride of each operand along a row, 0 or 1. */
  aStep: u32;
  bStep: u32;
  /** Kind 2: the factor, an i32; 3: not read. */
  aScale: f32;
  aZeroPoint: i32;
  aSigned: u32;
  bScale: f32;
  bZeroPoint: i32;
  bSigned: u32;
  /** Kind 2: the shift; 3: the factor. */
  scale: f32;
  zeroPoint: i32;
  signed: u32;
  /** The clamp, in codes. */
  least: i32;
  most: i32;
  // Then, for the outer dimensions, innermost last: size, stride of A, stride of B.
}

/** Sixteen i32, as four vectors, to bytes. They are in the range of the bytes. */
// @ts-ignore: decorator
@inline
function narrow(a: v128, b: v128, c: v128, d: v128, signed: bool): v128 {
  const low = i16x8.narrow_i32x4_s(a, b), high = i16x8.narrow_i32x4_s(c, d);
  return signed ? i8x16.narrow_i16x8_s(low, high) : i8x16.narrow_i16x8_u(low, high);
}

/** Stores the first `count` (1 .. 15) bytes. */
export function storeSome(to: usize, bytes: v128, count: u32): void {
  if (count & 8) {
    v128.store64_lane(to, bytes, 0);
    to += 8;
    bytes = i64x2.shuffle(bytes, bytes, 1, 1);
  }
  let rest = i64x2.extract_lane(bytes, 0);
  for (count &= 7; count > 0; count--) {
    store<u8>(to++, <u8>rest);
    rest >>= 8;
  }
}

/** The code of each number of steps, less `back`: clamped before it is rounded, which the bounds, being integers, allow. */
// @ts-ignore: decorator
@inline
function code4(steps: v128, low: v128, high: v128, back: v128): v128 {
  const bounded = clamp(v128.and(steps, f32x4.eq(steps, steps)), low, high);
  return i32x4.add(f32x4.add(bounded, f32x4.splat(MAGIC)), back);
}

// @ts-ignore: decorator
@inline
function quantizeBlock(from: usize, to: usize, past: usize, scale: f32, zero: i32, signed: bool): void {
  const least = signed ? -128 : 0, most = signed ? 127 : 255;
  const scales = f32x4.splat(scale);
  const low = f32x4.splat(<f32>(least - zero)), high = f32x4.splat(<f32>(most - zero));
  const back = i32x4.splat(zero - reinterpret<i32>(MAGIC));
  for (; to < past; to += 16) {
    // What is read past the end is not stored.
    const codes = narrow(
      code4(f32x4.div(v128.load(from, 0), scales), low, high, back), code4(f32x4.div(v128.load(from, 16), scales), low, high, back),
      code4(f32x4.div(v128.load(from, 32), scales), low, high, back), code4(f32x4.div(v128.load(from, 48), scales), low, high, back), signed);
    from += 64;
    if (to + 16 <= past) v128.store(to, codes);
    else storeSome(to, codes, <u32>(past - to));
  }
}

export function quantize(job: QuantizeJob, begin: u32, end: u32, scratch: usize): void {
  const first = begin * BLOCK, past = job.output + min(end * BLOCK, job.size);
  const from = job.input + <usize>first * 4, to = job.output + first;
  if (job.signed) quantizeBlock(from, to, past, job.scale, job.zeroPoint, true);
  else quantizeBlock(from, to, past, job.scale, job.zeroPoint, false);
}

/** Codes of eight bytes as i16. */
// @ts-ignore: decorator
@inline
function load8(from: usize, signed: bool): v128 {
  return signed ? v128.load8x8_s(from) : v128.load8x8_u(from);
}

/** What four i16 of which `zeros` was taken off stand for. */
// @ts-ignore: decorator
@inline
function realLow(x: v128, scale: v128): v128 {
  return f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(x)), scale);
}

// @ts-ignore: decorator
@inline
function realHigh(x: v128, scale: v128): v128 {
  return f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(x)), scale);
}

// @ts-ignore: decorator
@inline
function dequantizeBlock(from: usize, to: usize, past: usize, scale: f32, zero: i32, signed: bool): void {
  const scales = f32x4.splat(scale), zeros = i16x8.splat(<i16>zero);
  for (; to + 32 <= past; to += 32) {
    const x = i16x8.sub(load8(from, signed), zeros);
    v128.store(to, realLow(x, scales), 0);
    v128.store(to, realHigh(x, scales), 16);
    from += 8;
  }
  for (; to < past; to += 4) {
    const code = signed ? <i32>load<i8>(from) : <i32>load<u8>(from);
    f32.store(to, <f32>(code - zero) * scale);
    from++;
  }
}

export function dequantize(job: DequantizeJob, begin: u32, end: u32, scratch: usize): void {
  const first = begin * BLOCK;
  const to = job.output + <usize>first * 4, past = job.output + <usize>min(end * BLOCK, job.size) * 4;
  const scale = job.scale, zero = job.zeroPoint;
  if (job.kind == 0) dequantizeBlock(job.input + first, to, past, scale, zero, false);
  else if (job.kind == 1) dequantizeBlock(job.input + first, to, past, scale, zero, true);
  else {
    let from = job.input + <usize>first * 4;
    const scales = f32x4.splat(scale), zeros = i32x4.splat(zero);
    let at = to;
    for (; at + 16 <= past; at += 16) {
      v128.store(at, f32x4.mul(f32x4.convert_i32x4_s(i32x4.sub(v128.load(from), zeros)), scales));
      from += 16;
    }
    for (; at < past; at += 4) {
      f32.store(at, <f32>(load<i32>(from) - zero) * scale);
      from += 4;
    }
  }
}

export function lookup(job: LookupJob, begin: u32, end: u32, scratch: usize): void {
  const table = changetype<usize>(job) + offsetof<LookupJob>();
  let from = job.input + begin * BLOCK, to = job.output + begin * BLOCK;
  const past = job.output + min(end * BLOCK, job.size);
  for (; to + 8 <= past; to += 8) {
    const x = load<u64>(from);
    from += 8;
    const low = <u32>load<u8>(table + <usize>(x & 255)) | <u32>load<u8>(table + <usize>((x >> 8) & 255)) << 8
      | <u32>load<u8>(table + <usize>((x >> 16) & 255)) << 16 | <u32>load<u8>(table + <usize>((x >> 24) & 255)) << 24;
    const high = <u32>load<u8>(table + <usize>((x >> 32) & 255)) | <u32>load<u8>(table + <usize>((x >> 40) & 255)) << 8
      | <u32>load<u8>(table + <usize>((x >> 48) & 255)) << 16 | <u32>load<u8>(table + <usize>(x >> 56)) << 24;
    store<u64>(to, <u64>high << 32 | low);
  }
  for (; to < past; to++) store<u8>(to, load<u8>(table + load<u8>(from++)));
}

/** Eight codes of an operand less its zero point, as i16; or eight times the same. */
// @ts-ignore: decorator
@inline
function operand(from: usize, step: u32, signed: u32, zeros: v128): v128 {
  let codes: v128;
  if (step) codes = signed ? v128.load8x8_s(from) : v128.load8x8_u(from);
  else codes = i16x8.splat(signed ? <i16>load<i8>(from) : <i16>load<u8>(from));
  return i16x8.sub(codes, zeros);
}

/** The result in steps of the output, f32, of four of the i16 of two operands. */
// @ts-ignore: decorator
@inline
function combine(x: v128, y: v128, high: bool, kind: u32, aScales: v128, bScales: v128, scales: v128): v128 {
  if (kind == 3) {
    const product = high ? i32x4.extmul_high_i16x8_s(x, y) : i32x4.extmul_low_i16x8_s(x, y);
    return f32x4.mul(f32x4.convert_i32x4_s(product), scales);
  }
  const a = high ? realHigh(x, aScales) : realLow(x, aScales), b = high ? realHigh(y, bScales) : realLow(y, bScales);
  return f32x4.div(kind == 1 ? f32x4.mul(a, b) : f32x4.add(a, b), scales);
}

/** Four i16 of each operand times their factors, added and shifted, rounding half up. */
// @ts-ignore: decorator
@inline
function sum4(x: v128, y: v128, aFactors: v128, bFactors: v128, half: v128, shift: i32): v128 {
  return i32x4.shr_s(i32x4.add(i32x4.add(i32x4.mul(x, aFactors), i32x4.mul(y, bFactors)), half), shift);
}

// @ts-ignore: decorator
@inline
function storeCodes(to: usize, past: usize, left: v128, right: v128, signed: u32): void {
  const words = i16x8.narrow_i32x4_s(left, right);
  const codes = signed ? i8x16.narrow_i16x8_s(words, words) : i8x16.narrow_i16x8_u(words, words);
  if (to + 8 <= past) v128.store64_lane(to, codes, 0);
  else storeSome(to, codes, <u32>(past - to));
}

// @ts-ignore: decorator
@inline
function binaryRow(job: CodeBinaryJob, a: usize, b: usize, to: usize, past: usize, kind: u32): void {
  const zero = job.zeroPoint;
  const aZeros = i16x8.splat(<i16>job.aZeroPoint), bZeros = i16x8.splat(<i16>job.bZeroPoint);
  const aScales = f32x4.splat(job.aScale), bScales = f32x4.splat(job.bScale), scales = f32x4.splat(job.scale);
  const low = f32x4.splat(<f32>(job.least - zero)), high = f32x4.splat(<f32>(job.most - zero));
  const back = i32x4.splat(zero - reinterpret<i32>(MAGIC));
  for (; to < past; to += 8) {
    const x = operand(a, job.aStep, job.aSigned, aZeros), y = operand(b, job.bStep, job.bSigned, bZeros);
    a += 8 * job.aStep;
    b += 8 * job.bStep;
    const left = code4(combine(x, y, false, kind, aScales, bScales, scales), low, high, back);
    const right = code4(combine(x, y, true, kind, aScales, bScales, scales), low, high, back);
    storeCodes(to, past, left, right, job.signed);
  }
}

function sumRow(job: CodeBinaryJob, a: usize, b: usize, to: usize, past: usize): void {
  const shift = reinterpret<i32>(job.scale);
  const aZeros = i16x8.splat(<i16>job.aZeroPoint), bZeros = i16x8.splat(<i16>job.bZeroPoint);
  const aFactors = i32x4.splat(reinterpret<i32>(job.aScale)), bFactors = i32x4.splat(reinterpret<i32>(job.bScale));
  const half = i32x4.splat(1 << (shift - 1)), zero = i32x4.splat(job.zeroPoint);
  const low = i32x4.splat(job.least), high = i32x4.splat(job.most);
  for (; to < past; to += 8) {
    const x = operand(a, job.aStep, job.aSigned, aZeros), y = operand(b, job.bStep, job.bSigned, bZeros);
    a += 8 * job.aStep;
    b += 8 * job.bStep;
    const left = sum4(i32x4.extend_low_i16x8_s(x), i32x4.extend_low_i16x8_s(y), aFactors, bFactors, half, shift);
    const right = sum4(i32x4.extend_high_i16x8_s(x), i32x4.extend_high_i16x8_s(y), aFactors, bFactors, half, shift);
    storeCodes(to, past, i32x4.min_s(i32x4.max_s(i32x4.add(left, zero), low), high),
      i32x4.min_s(i32x4.max_s(i32x4.add(right, zero), low), high), job.signed);
  }
}

export function code_binary(job: CodeBinaryJob, begin: u32, end: u32, scratch: usize): void {
  const cols = job.cols;
  const blocks = (cols + BLOCK - 1) / BLOCK;
  for (let tile = begin; tile < end; tile++) {
    const row = tile / blocks, first = tile % blocks * BLOCK;
    let rest = row;
    let a = job.input + first * job.aStep, b = job.input2 + first * job.bStep;
    for (let i: i32 = OUTER - 1; i >= 0; i--) {
      const at = changetype<usize>(job) + offsetof<CodeBinaryJob>() + <usize>i * 12;
      const size = load<u32>(at, 0);
      const index = rest % size;
      rest /= size;
      a += <usize>index * load<u32>(at, 4);
      b += <usize>index * load<u32>(at, 8);
    }
    const start = job.output + <usize>row * cols;
    const to = start + first, past = start + min(first + BLOCK, cols);
    if (job.kind == 2) sumRow(job, a, b, to, past);
    else if (job.kind == 3) binaryRow(job, a, b, to, past, 3);
    else if (job.kind == 1) binaryRow(job, a, b, to, past, 1);
    else binaryRow(job, a, b, to, past, 0);
  }
}
