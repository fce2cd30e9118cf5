// output[m, r] = finish(sum over k < DEPTH of A[m, k] * W[r, k]), for few rows of A, on devices with subgroups
//
// A workgroup computes NR rows of W for one row of A in one group. Its threads walk along K side by side, SPAN columns at
// a time, and use what they load of A for all NR rows; totals meet by subgroup, then those of subgroups in workgroup
// memory.
//
// What A, W, a product and finish mean is up to the snippets: row_at, row_quad (A), load_weights, weight_quad (W),
// dot_add, finish, store, and the types Element and Sum; row_zero, add_group and Total, which make totals of the sums over SPAN
// columns.
//
// Bindings: output [M, OUTPUTS]; params.M, params.first = the column of output where row 0 of W goes.
// Constants: OUTPUTS, N, GROUPS, DEPTH, SPAN; NR, THREADS; TILES_N = ceil(N / NR).
struct Params {
  M: u32,
  first: u32,
}
@group(0) @binding(9) var<uniform> params: Params;

/// Subgroups may be as small as 4 threads.
var<workgroup> partial: array<Total, NR * THREADS / 4u>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
  @builtin(subgroup_invocation_id) member: u32,
) {
  let tile = id.x + id.y * grid.x;
  let n0 = tile % TILES_N * NR;
  let group = tile / TILES_N % GROUPS;
  let m = tile / (TILES_N * GROUPS);
  if (m >= params.M) {
    return;
  }
  load_weights(lane);

  // Rows of W beyond the edge repeat the last; they are not stored.
  let row = row_at(m, group);
  let zero = row_zero(m);
  var totals: array<Total, NR>;
  for (var k0 = lane * SPAN; k0 < DEPTH; k0 += THREADS * SPAN) {
    // Spelled out: without, compilers were seen to keep the last iteration (Dawn; naga: gfx-rs/wgpu#9489).
    var sums = array<Sum, NR>();
    for (var k = k0; k < k0 + SPAN; k += 4u) {
      let a = row_quad(row, k);
      for (var j = 0u; j < NR; j++) {
        sums[j] = dot_add(sums[j], a, weight_quad(group * N + min(n0 + j, N - 1u), k));
      }
    }
    for (var j = 0u; j < NR; j++) {
      totals[j] = add_group(totals[j], sums[j], zero, group * N + min(n0 + j, N - 1u), k0 / SPAN);
    }
  }

  for (var j = 0u; j < NR; j++) {
    let total = subgroupAdd(totals[j]);
    if (member == 0u) {
      partial[subgroup * NR + j] = total;
    }
  }
  workgroupBarrier();
  if (lane < NR && n0 + lane < N) {
    var total = partial[lane];
    for (var i = 1u; i < subgroups; i++) {
      total += partial[i * NR + lane];
    }
    store(m, params.first + group * N + n0 + lane, finish(total, m, group * N + n0 + lane));
  }
}
