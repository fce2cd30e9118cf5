// output[m, r] = finish(sum over the items of row r of weight * A[m, element]), for few rows of A
//
// LANES threads share SHARE rows of W, which share their columns, and walk along the items side by side; partial sums
// meet in workgroup memory. A is gathered where it lies.
//
// What an item is is up to the snippets: begin_of, end_of, element_of, value_of; add_product, finish, store; row_at,
// row_element, and the types Element and Sum.
//
// Bindings: output [M, OUTPUTS] f32; params.M, params.first = the column of output where row 0 of W goes.
// Constants: ROWS = GROUPS * N, N; BLOCK_ROWS = rows of W that an entry has, SHARE = those or 1; NR, LANES (a power of
// 2), THREADS = NR * LANES; TILES_N = ceil(ROWS / SHARE / NR).
struct Params {
  M: u32,
  first: u32,
  base: u32,
}
@group(0) @binding(9) var<uniform> params: Params;

var<workgroup> partial: array<Sum, THREADS * SHARE>;

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
  let r0 = (job % TILES_N * NR + lane / LANES) * SHARE;
  var sums: array<Sum, SHARE>;
  if (r0 < ROWS) {
    let row = row_at(m, r0 / N);
    let end = end_of(r0 / BLOCK_ROWS);
    for (var item = begin_of(r0 / BLOCK_ROWS) + lane % LANES; item < end; item += LANES) {
      let a = row_element(row, element_of(item));
      for (var j = 0u; j < SHARE; j++) {
        sums[j] = add_product(sums[j], a, value_of(item, r0 + j));
      }
    }
  }
  for (var j = 0u; j < SHARE; j++) {
    partial[j * THREADS + lane] = sums[j];
  }
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane % LANES < half) {
      for (var j = 0u; j < SHARE; j++) {
        partial[j * THREADS + lane] += partial[j * THREADS + lane + half];
      }
    }
  }
  if (lane % LANES == 0u) {
    for (var j = 0u; j < SHARE; j++) {
      if (r0 + j < ROWS) {
        store(m, params.first + r0 + j, finish(partial[j * THREADS + lane], m, r0 + j));
      }
    }
  }
}
