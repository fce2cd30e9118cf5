// output[r, c] = exp(input[r, c] - max of row r) / sum over the row of the same; a row with NaN or +inf becomes NaN
//
// One workgroup a row. Rows are read three times, through the cache; nothing limits their length.
//
// Bindings: input, output [rows, COLS]; params.rows. Constants: COLS. Needs: nan.wgsl.
struct Params {
  rows: u32,
  /// Bits of NaN, which WGSL has no literal for.
  nan: u32,
}
@group(0) @binding(0) var<storage, read> input: array<f32>;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

const THREADS = 64u;

var<workgroup> largest: array<f32, THREADS>;
var<workgroup> sums: array<f32, THREADS>;
var<workgroup> bad: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = id.x + id.y * grid.x;
  if (row >= params.rows) {
    return;
  }
  let start = row * COLS;
  // Neither exp nor the comparisons can be trusted with NaN and infinities: look for them by their bits.
  var most = -0x1.fffffep+127f;
  var invalid = 0u;
  var finite = 0u;
  for (var c = lane; c < COLS; c += THREADS) {
    let value = input[start + c];
    let bits = bitcast<u32>(value);
    if (is_nan(value) || bits == 0x7f800000u) {
      invalid = 1u;
    }
    if (bits != 0xff800000u) {
      finite = 2u;
      most = max(most, value);
    }
  }
  largest[lane] = most;
  bad[lane] = invalid | finite;
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      largest[lane] = max(largest[lane], largest[lane + half]);
      bad[lane] |= bad[lane + half];
    }
  }
  workgroupBarrier();
  most = largest[0];
  // A row of -inf alone has no largest value to subtract: NaN as well.
  let is_bad = bad[0] != 2u;

  var sum = 0.0;
  for (var c = lane; c < COLS; c += THREADS) {
    sum += power(input[start + c], most);
  }
  sums[lane] = sum;
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      sums[lane] += sums[lane + half];
    }
  }
  workgroupBarrier();
  sum = sums[0];
  for (var c = lane; c < COLS; c += THREADS) {
    let y = power(input[start + c], most) / sum;
    output[start + c] = bitcast<f32>(select(bitcast<u32>(y), params.nan, is_bad));
  }
}

/// exp(value - most); 0 for what is so small that f32 has no such power, -inf included.
fn power(value: f32, most: f32) -> f32 {
  return exp(max(value - most, -104.0));
}
