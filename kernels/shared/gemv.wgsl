// output[m, r] = finish(sum over k < DEPTH of A[m, k] * W[r, k]), for few rows of A
//
// A workgroup computes MR rows of A times NR rows of W in one group. LANES threads share a row of W: they walk along K
// side by side, SPAN columns at a time, so that weights are read once, in order; totals meet in workgroup memory.
//
// What A, W, a product and finish mean is up to the snippets: row_at, row_quad (A), load_weights, weight_quad (W),
// dot_add, finish, store, and the types Element and Sum; row_zero, add_group and Total, which make totals of the sums over SPAN
// columns.
//
// Bindings: output [M, OUTPUTS]; params.M, params.first = the column of output where row 0 of W goes.
// Constants: OUTPUTS, N, GROUPS, DEPTH, SPAN; MR, NR, LANES (a power of 2), THREADS = NR * LANES; TILES_N = ceil(N / NR).
struct Params {
  M: u32,
  first: u32,
}
@group(0) @binding(9) var<uniform> params: Params;

var<workgroup> partial: array<Total, MR * THREADS>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let tile = id.x + id.y * grid.x;
  let group = tile / TILES_N % GROUPS;
  let m0 = tile / (TILES_N * GROUPS) * MR;
  if (m0 >= params.M) {
    return;
  }
  load_weights(lane);

  let n = tile % TILES_N * NR + lane / LANES;
  let r = group * N + min(n, N - 1u);
  // Rows beyond the edge repeat the last; they are not stored.
  var rows: array<Row, MR>;
  var zeros: array<i32, MR>;
  var totals: array<Total, MR>;
  for (var i = 0u; i < MR; i++) {
    rows[i] = row_at(min(m0 + i, params.M - 1u), group);
    zeros[i] = row_zero(min(m0 + i, params.M - 1u));
  }
  for (var k0 = lane % LANES * SPAN; k0 < DEPTH; k0 += LANES * SPAN) {
    // Spelled out: without, compilers were seen to keep the last iteration (Dawn; naga: gfx-rs/wgpu#9489).
    var sums = array<Sum, MR>();
    for (var k = k0; k < k0 + SPAN; k += 4u) {
      let w = weight_quad(r, k);
      for (var i = 0u; i < MR; i++) {
        sums[i] = dot_add(sums[i], row_quad(rows[i], k), w);
      }
    }
    for (var i = 0u; i < MR; i++) {
      totals[i] = add_group(totals[i], sums[i], zeros[i], r, k0 / SPAN);
    }
  }

  for (var i = 0u; i < MR; i++) {
    partial[i * THREADS + lane] = totals[i];
  }
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane % LANES < half) {
      for (var i = 0u; i < MR; i++) {
        partial[i * THREADS + lane] += partial[i * THREADS + lane + half];
      }
    }
  }
  if (lane % LANES == 0u && n < N) {
    for (var i = 0u; i < MR; i++) {
      if (m0 + i < params.M) {
        store(m0 + i, params.first + r, finish(partial[i * THREADS + lane], m0 + i, r));
      }
    }
  }
}
