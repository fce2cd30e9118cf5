// output[m, r] = finish(sum over the items of row r of weight * A[m, element]), for few rows of A, on devices with
// subgroups
//
// All threads of a workgroup share SHARE rows of W, which share their columns, and walk along the items side by side;
// sums meet by subgroup, then those of subgroups in workgroup memory. A is gathered where it lies.
//
// What an item is is up to the snippets, as in gemv.wgsl.
//
// Bindings: output [M, OUTPUTS] f32; params.M, params.first = the column of output where row 0 of W goes.
// Constants: ROWS = GROUPS * N, N; BLOCK_ROWS = rows of W that an entry has, SHARE = those or 1; THREADS;
// TILES_N = ceil(ROWS / SHARE).
struct Params {
  M: u32,
  first: u32,
  base: u32,
}
@group(0) @binding(9) var<uniform> params: Params;

/// Subgroups may be as small as 4 threads.
var<workgroup> partial: array<Sum, SHARE * THREADS / 4u>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
  @builtin(subgroup_invocation_id) member: u32,
) {
  let job = id.x + id.y * grid.x;
  let m = job / TILES_N;
  if (m >= params.M) {
    return;
  }
  let r0 = job % TILES_N * SHARE;
  let row = row_at(m, r0 / N);
  let end = end_of(r0 / BLOCK_ROWS);
  var sums: array<Sum, SHARE>;
  for (var item = begin_of(r0 / BLOCK_ROWS) + lane; item < end; item += THREADS) {
    let a = row_element(row, element_of(item));
    for (var j = 0u; j < SHARE; j++) {
      sums[j] = add_product(sums[j], a, value_of(item, r0 + j));
    }
  }
  for (var j = 0u; j < SHARE; j++) {
    let sum = subgroupAdd(sums[j]);
    if (member == 0u) {
      partial[subgroup * SHARE + j] = sum;
    }
  }
  workgroupBarrier();
  if (lane < SHARE && r0 + lane < ROWS) {
    var sum = partial[lane];
    for (var i = 1u; i < subgroups; i++) {
      sum += partial[i * SHARE + lane];
    }
    store(m, params.first + r0 + lane, finish(sum, m, r0 + lane));
  }
}
