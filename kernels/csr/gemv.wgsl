// output[m, r] = activate(sum over the entries of row r of value * A[m, column] + bias[r]), for few rows of A
//
// LANES threads share a row of W and walk along its entries side by side; partial sums meet in workgroup memory. A is
// gathered where it lies.
//
// Bindings: indptr, indices, values, bias (weights.wgsl); output [M, ROWS] f32; params.M.
// Constants: ROWS = GROUPS * N, N; NR, LANES (a power of 2), THREADS = NR * LANES; TILES_N = ceil(ROWS / NR).
// Needs: row_at, row_element.
struct Params {
  M: u32,
}
@group(0) @binding(8) var<storage, read_write> output: array<f32>;
@group(0) @binding(9) var<uniform> params: Params;

var<workgroup> partial: array<f32, THREADS>;

fn padding(image: u32, c: u32) -> f32 {
  return 0.0;
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let job = id.x + id.y * grid.x;
  let m = job / TILES_N;
  if (m >= params.M) {
    return;
  }
  let r = job % TILES_N * NR + lane / LANES;
  var sum = 0.0;
  if (r < ROWS) {
    let row = row_at(m, r / N);
    let end = indptr[r + 1u];
    for (var e = indptr[r] + lane % LANES; e < end; e += LANES) {
      sum += values[e] * row_element(row, column_of(e));
    }
  }
  partial[lane] = sum;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane % LANES < half) {
      partial[lane] += partial[lane + half];
    }
  }
  if (lane % LANES == 0u && r < ROWS) {
    output[m * ROWS + r] = activate(partial[lane] + bias[r]);
  }
}
