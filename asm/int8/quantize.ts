import { InputKind, MatmulJob } from '../shared/job';
import { MAGIC } from '../shared/outputs';
import { clamp, madd } from '../shared/simd';

// 8-bit codes of activations. By sample: one scale and zero point each, quantizeSample in src/formats/activations.ts,
// whose answer every backend gives to the last bit. Given: quantizeLinear there, or codes that arrive. Where the dot is
// signed, codes and zero points are stored 128 less. Shared scratch: samples [16 bytes each], then codes [samples][size], then
// the ranges of parts of samples.

/** Values that one tile quantises where the quantisation is given. */
const GIVEN_TILE: u32 = 4096;

/** What the products need to know of a sample. */
@unmanaged
export class Sample {
  inverse: f32;
  scale: f32;
  zeroPoint: i32;
  reserved: u32;
}

export function sampleAt(job: MatmulJob, sample: u32): Sample {
  if (job.inputKind != InputKind.F32) {
    return changetype<Sample>(changetype<usize>(job) + offsetof<MatmulJob>('givenInverse'));
  }
  return changetype<Sample>(job.shared + <usize>sample * offsetof<Sample>());
}

export function codesAt(job: MatmulJob): usize {
  if (job.inputKind == InputKind.CODES) return job.input;
  return job.shared + <usize>job.samples * offsetof<Sample>();
}

function describe(low: f32, high: f32, to: Sample): void {
  low = min<f32>(low, 0);
  const range = max<f32>(high, 0) - low;
  to.inverse = 0;
  to.zeroPoint = 0;
  if (!(range < reinterpret<f32>((117 + 127) << 23))) {
    to.scale = NaN;
    return;
  }
  if (range < reinterpret<f32>((127 - 100) << 23)) {
    to.scale = 0;
    return;
  }
  const bits = reinterpret<u32>(range);
  const mantissa16 = (((bits & 0x7fffff) | 0x800000) + 0xff) >> 8;
  const quotient: u32 = 0xff000000 / mantissa16;
  const inverse = <f32>quotient * reinterpret<f32>((245 - (bits >> 23)) << 23);
  to.inverse = inverse;
  to.scale = 1 / inverse;
  to.zeroPoint = <i32>nearest<f32>(-low * inverse);
}

/** Codes of four finite values; of others anything, as their sample's scale is NaN. */
// @ts-ignore: decorator
@inline
function code4(from: usize, inverse: v128, round: v128, less: v128): v128 {
  return i32x4.sub(f32x4.add(f32x4.mul(v128.load(from), inverse), round), less);
}

/** Codes of four values, clamped before they are rounded, which the bounds, being integers, allow; a NaN counts as 0. */
// @ts-ignore: decorator
@inline
function givenCode4(from: usize, scale: v128, low: v128, high: v128, back: v128): v128 {
  const steps = f32x4.div(v128.load(from), scale);
  const bounded = clamp(v128.and(steps, f32x4.eq(steps, steps)), low, high);
  return i32x4.add(f32x4.add(bounded, f32x4.splat(MAGIC)), back);
}

/** Codes i .. end - 1 of f32 values by the scale and zero point of the job. */
function quantizeGiven(job: MatmulJob, i: u32, end: u32): void {
  const from = job.input, to = codesAt(job);
  const flip = <i32>job.dotFlip, zero = job.givenZeroPoint + flip;
  const flips = i8x16.splat(<i8>flip), scale = f32x4.splat(job.givenScale);
  const least = -zero, most = 255 - zero;
  const low = f32x4.splat(<f32>least), high = f32x4.splat(<f32>most);
  const back = i32x4.splat(zero - reinterpret<i32>(MAGIC));
  for (; i + 16 <= end; i += 16) {
    const at = from + <usize>i * 4;
    const a = i16x8.narrow_i32x4_s(givenCode4(at, scale, low, high, back), givenCode4(at + 16, scale, low, high, back));
    const b = i16x8.narrow_i32x4_s(givenCode4(at + 32, scale, low, high, back), givenCode4(at + 48, scale, low, high, back));
    v128.store(to + i, v128.xor(i8x16.narrow_i16x8_u(a, b), flips));
  }
  for (; i < end; i++) {
    const steps = nearest<f32>(f32.load(from + <usize>i * 4) / job.givenScale);
    const bounded = steps == steps ? <i32>max<f32>(min<f32>(steps, 512), -512) : 0;
    store<u8>(to + i, <u8>(max(min(bounded + zero, 255), 0) ^ flip));
  }
}

/** Codes i .. end - 1 with their highest bit inverted. */
function flipCodes(job: MatmulJob, i: u32, end: u32): void {
  const from = job.input, to = codesAt(job);
  const flips = i8x16.splat(-128);
  for (; i + 16 <= end; i += 16) v128.store(to + i, v128.xor(v128.load(from + i), flips));
  for (; i < end; i++) store<u8>(to + i, load<u8>(from + i) ^ 128);
}

/** The least and the largest of some values, NaN where one is not finite. */
@unmanaged
class Range {
  low: f32;
  high: f32;
}

/** Ranges of the parts of a sample, behind the codes: [samples][sampleParts]. */
function rangesAt(job: MatmulJob): usize {
  return (codesAt(job) + <usize>job.samples * job.sampleSize + 15) & ~15;
}

/** First value of a part of a sample: a multiple of 16, or its end. */
function partStart(job: MatmulJob, part: u32): u32 {
  const each = (job.sampleSize + job.sampleParts - 1) / job.sampleParts;
  return min(part * ((each + 15) & ~15), job.sampleSize);
}

function rangeOf(from: usize, size: u32, to: Range): void {
  // pmin and pmax are one instruction each, but lose a NaN: times 0, it and the infinities are kept apart.
  const zero = f32x4.splat(0);
  let lows = zero, highs = zero, lows1 = zero, highs1 = zero, bad = zero, bad1 = zero;
  let i: u32 = 0;
  for (; i + 8 <= size; i += 8) {
    const x = v128.load(from + i * 4, 0), y = v128.load(from + i * 4, 16);
    lows = f32x4.pmin(lows, x);
    highs = f32x4.pmax(highs, x);
    bad = madd(x, zero, bad);
    lows1 = f32x4.pmin(lows1, y);
    highs1 = f32x4.pmax(highs1, y);
    bad1 = madd(y, zero, bad1);
  }
  lows = f32x4.add(f32x4.pmin(lows, lows1), bad);
  highs = f32x4.add(f32x4.pmax(highs, highs1), bad1);
  let low = min(min(f32x4.extract_lane(lows, 0), f32x4.extract_lane(lows, 1)),
    min(f32x4.extract_lane(lows, 2), f32x4.extract_lane(lows, 3)));
  let high = max(max(f32x4.extract_lane(highs, 0), f32x4.extract_lane(highs, 1)),
    max(f32x4.extract_lane(highs, 2), f32x4.extract_lane(highs, 3)));
  for (; i < size; i++) {
    const x = f32.load(from + i * 4);
    low = min(low, x);
    high = max(high, x);
  }
  to.low = low;
  to.high = high;
}

/** Tiles are parts of samples. */
export function int8_ranges(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  for (let tile = begin; tile < end; tile++) {
    const first = partStart(job, tile % job.sampleParts), past = partStart(job, tile % job.sampleParts + 1);
    const sample = <usize>(tile / job.sampleParts) * job.sampleSize;
    const to = changetype<Range>(rangesAt(job) + <usize>tile * offsetof<Range>());
    rangeOf(job.input + (sample + first) * 4, past - first, to);
  }
}

/** `count` values to codes; `flip` is taken off. */
function quantizeValues(from: usize, count: u32, facts: Sample, flip: i32, to: usize): void {
  const inverse = f32x4.splat(facts.inverse), round = f32x4.splat(MAGIC);
  const less = i32x4.splat(reinterpret<i32>(MAGIC) - facts.zeroPoint);
  const flips = i8x16.splat(<i8>flip);
  let i: u32 = 0;
  for (; i + 16 <= count; i += 16) {
    const at = from + i * 4;
    const a = i16x8.narrow_i32x4_s(code4(at, inverse, round, less), code4(at + 16, inverse, round, less));
    const b = i16x8.narrow_i32x4_s(code4(at + 32, inverse, round, less), code4(at + 48, inverse, round, less));
    v128.store(to + i, v128.xor(i8x16.narrow_i16x8_u(a, b), flips));
  }
  for (; i < count; i++) {
    // The comparison makes NaN 0, as its conversion would trap; its scale is NaN already.
    const scaled = nearest<f32>(f32.load(from + i * 4) * facts.inverse);
    const code = (scaled == scaled ? <i32>scaled : 0) + facts.zeroPoint;
    store<u8>(to + i, <u8>(max(min(code, 255), 0) ^ flip));
  }
}

/**
 * Tiles are samples, or parts of them whose ranges are known; where the quantisation is given, GIVEN_TILE values.
 * Scratch: a Range and a Sample.
 */
export function int8_quantize(job: MatmulJob, begin: u32, end: u32, scratch: usize): void {
  const kind = job.inputKind;
  if (kind != InputKind.F32) {
    const first = begin * GIVEN_TILE, last = min(end * GIVEN_TILE, job.samples * job.sampleSize);
    if (kind == InputKind.GIVEN) quantizeGiven(job, first, last);
    else if (kind == InputKind.FLIPPED) flipCodes(job, first, last);
    return;
  }
  const flip = <i32>job.dotFlip;
  const parts = job.sampleParts;
  const range = changetype<Range>(scratch), facts = changetype<Sample>(scratch + offsetof<Range>());
  for (let tile = begin; tile < end; tile++) {
    const s = tile / parts, part = tile % parts;
    const start = <usize>s * job.sampleSize;
    if (parts == 1) {
      rangeOf(job.input + start * 4, job.sampleSize, range);
    } else {
      range.low = 0;
      range.high = 0;
      for (let i: u32 = 0; i < parts; i++) {
        const known = changetype<Range>(rangesAt(job) + <usize>(s * parts + i) * offsetof<Range>());
        range.low = min(range.low, known.low);
        range.high = max(range.high, known.high);
      }
    }
    describe(range.low, range.high, facts);
    const first = partStart(job, part), past = partStart(job, part + 1);
    quantizeValues(job.input + (start + first) * 4, past - first, facts, flip, codesAt(job) + start + first);
    if (part > 0) continue;
    const sample = sampleAt(job, s);
    sample.inverse = facts.inverse;
    sample.scale = facts.scale;
    sample.zeroPoint = facts.zeroPoint - flip;
  }
}
