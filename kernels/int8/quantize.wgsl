// words[pixel, group, c / 4], byte c % 4 = code(input[pixel, group, c]) - 128, as signed bytes; 0 beyond the channels
//   code(x) = clamp(round(x * inverse) + zero_point, 0, 255)
// samples[s] = (bits of scale, zero_point - 128)
//
// Bit for bit what quantizeSample and quantizeValue in src/formats/activations.ts compute. Floats only ever meet single
// multiplications and subtractions, which no compiler can fuse; the inverse of the scale comes from integer divisions,
// for GPUs divide floats inexactly. A range that is not finite (or nearly so) gets the scale NaN.
//
// One workgroup a BLOCK of words of one sample; each reduces the partial ranges again, which is cheaper than one more
// dispatch.
//
// Bindings: input [samples, SAMPLE_SIZE] f32; partial [samples, PARTS] from range.wgsl; words; samples; params.samples.
// Constants: SAMPLE_SIZE; SAMPLE_WORDS; CHANNELS = channels of a pixel in a group; WORDS = ceil(CHANNELS / 4); PARTS;
// BLOCKS = ceil(SAMPLE_WORDS / BLOCK).
struct Params {
  samples: u32,
}
@group(0) @binding(0) var<storage, read> input: array<f32>;
@group(0) @binding(1) var<storage, read> partial: array<vec2<i32>>;
@group(0) @binding(2) var<storage, read_write> words: array<u32>;
@group(0) @binding(3) var<storage, read_write> samples: array<vec2<u32>>;
@group(0) @binding(4) var<uniform> params: Params;

const THREADS = 64u;
const BLOCK = 256u;
const QUIET_NAN = 0x7fc00000u;
/// Orders of +inf and -inf (see range.wgsl), and the bits of 2^117 and 2^-100.
const ORDER_INFINITY = 0x7f800000;
const LARGEST_RANGE = 0x7a000000u;
const SMALLEST_RANGE = 0x0d800000u;

var<workgroup> low: array<i32, THREADS>;
var<workgroup> high: array<i32, THREADS>;

struct Quantization {
  inverse: f32,
  scale_bits: u32,
  zero_point: i32,
}

fn from_ordered(value: i32) -> f32 {
  return bitcast<f32>(select(value, value ^ 0x7fffffff, value < 0));
}

/// mantissa * 2^exponent for mantissa in [2^23, 2^24]: built from bits, without rounding.
fn float_of(mantissa: u32, exponent: i32) -> f32 {
  return bitcast<f32>((u32(exponent + 149) << 23u) + mantissa);
}

fn quantization(least: i32, most: i32) -> Quantization {
  if (most >= ORDER_INFINITY || least <= -ORDER_INFINITY - 1) {
    return Quantization(0.0, QUIET_NAN, 0);
  }
  let minimum = from_ordered(least);
  let range = bitcast<u32>(from_ordered(most) - minimum);
  if (range >= LARGEST_RANGE) {
    return Quantization(0.0, QUIET_NAN, 0);
  }
  if (range < SMALLEST_RANGE) {
    return Quantization(0.0, 0u, 0);
  }
  // inverse = quotient * 2^(118 - exponent), with quotient in 65280 .. 130560.
  let exponent = i32(range >> 23u);
  let mantissa16 = ((range & 0x7fffffu) + 0x8000ffu) >> 8u;
  let quotient = 0xff000000u / mantissa16;
  let shift = select(8u, 7u, quotient >= 0x10000u);
  let inverse = float_of(quotient << shift, 118 - exponent - i32(shift));
  // scale = 2^(exponent - 118) / quotient, rounded half to even: 2^(31 + digits) / quotient by long division.
  let digits = select(8u, 9u, quotient > 0x10000u);
  let head = 0x80000000u / quotient;
  let rest = (0x80000000u - head * quotient) << digits;
  let tail = rest / quotient;
  let remainder = 2u * (rest - tail * quotient);
  let floor = (head << digits) + tail;
  let up = remainder > quotient || (remainder == quotient && (floor & 1u) == 1u);
  let scale = float_of(floor + u32(up), exponent - 118 - 31 - i32(digits));
  let product = -minimum * inverse;
  return Quantization(inverse, bitcast<u32>(scale), i32(round(product)));
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let job = id.x + id.y * grid.x;
  let sample = job / BLOCKS;
  if (sample >= params.samples) {
    return;
  }
  var least = 0;
  var most = 0;
  for (var i = lane; i < PARTS; i += THREADS) {
    let part = partial[sample * PARTS + i];
    least = min(least, part.x);
    most = max(most, part.y);
  }
  low[lane] = least;
  high[lane] = most;
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      low[lane] = min(low[lane], low[lane + half]);
      high[lane] = max(high[lane], high[lane + half]);
    }
  }
  workgroupBarrier();
  let q = quantization(low[0], high[0]);
  let block = job % BLOCKS;
  if (block == 0u && lane == 0u) {
    samples[sample] = vec2<u32>(q.scale_bits, bitcast<u32>(q.zero_point - 128));
  }
  let end = min((block + 1u) * BLOCK, SAMPLE_WORDS);
  for (var i = block * BLOCK + lane; i < end; i += THREADS) {
    let c = i % WORDS * 4u;
    let address = sample * SAMPLE_SIZE + i / WORDS * CHANNELS + c;
    var word = 0u;
    for (var byte = 0u; byte < 4u; byte++) {
      if (c + byte < CHANNELS) {
        let product = input[address + byte] * q.inverse;
        let code = clamp(i32(round(product)) + q.zero_point, 0, 255) - 128;
        word |= (bitcast<u32>(code) & 0xffu) << (8u * byte);
      }
    }
    words[sample * SAMPLE_WORDS + i] = word;
  }
}
