// output[m, r] = finish(sum over k < DEPTH of A[m, k] * W[r, k]), for few rows of A
//
// A workgroup computes MR rows of A times NR rows of W in one group. LANES threads share a row of W: they walk along K
// side by side, so that weights are read once, in order; partial sums meet in workgroup memory.
//
// What A, W, a product and finish mean is up to the snippets: row_at, row_quad (A), load_weights, weight_quad (W),
// dot_add, finish, and the types Element and Sum.
//
// Bindings: output [M, GROUPS * N] f32; params.M.
// Constants: N, GROUPS, DEPTH; MR, NR, LANES (a power of 2), THREADS = NR * LANES; TILES_N = ceil(N / NR).
struct Params {
  M: u32,
}
@group(0) @binding(8) var<storage, read_write> output: array<f32>;
@group(0) @binding(9) var<uniform> params: Params;

var<workgroup> partial: array<Sum, MR * THREADS>;

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
  var sums: array<Sum, MR>;
  for (var i = 0u; i < MR; i++) {
    rows[i] = row_at(min(m0 + i, params.M - 1u), group);
  }
  for (var k = lane % LANES * 4u; k < DEPTH; k += LANES * 4u) {
    let w = weight_quad(r, k);
    for (var i = 0u; i < MR; i++) {
      sums[i] = dot_add(sums[i], row_quad(rows[i], k), w);
    }
  }

  for (var i = 0u; i < MR; i++) {
    partial[i * THREADS + lane] = sums[i];
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
        output[((m0 + i) * GROUPS + group) * N + n] = finish(partial[i * THREADS + lane], m0 + i, r);
      }
    }
  }
}
