// output[r, c] = (input[r, c] - m) / sqrt(v + EPSILON) * input2[0, c] + input2[1, c], one workgroup a row: m and v are
// the mean and variance of row r, or 0 and the mean of squares without CENTER. Without AFFINE nothing follows.
//
// Bindings: input, output [rows, COLS], input2 [2, COLS] with AFFINE; params.rows. Needs: affine.wgsl or plain.wgsl.
struct Params {
  rows: u32,
}
@group(0) @binding(0) var<storage, read> input: array<f32>;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

const THREADS = 64u;

var<workgroup> sums: array<f32, THREADS>;

/// Sum over the lanes.
fn total(sum: f32, lane: u32) -> f32 {
  workgroupBarrier();
  sums[lane] = sum;
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      sums[lane] += sums[lane + half];
    }
  }
  workgroupBarrier();
  return sums[0];
}

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
  var mean = 0.0;
  if (CENTER) {
    var sum = 0.0;
    for (var c = lane; c < COLS; c += THREADS) {
      sum += input[start + c];
    }
    mean = total(sum, lane) / f32(COLS);
  }
  var squares = 0.0;
  for (var c = lane; c < COLS; c += THREADS) {
    let x = input[start + c] - mean;
    squares += x * x;
  }
  let weight = inverseSqrt(total(squares, lane) / f32(COLS) + EPSILON);
  for (var c = lane; c < COLS; c += THREADS) {
    output[start + c] = affine((input[start + c] - mean) * weight, c);
  }
}
