// output[m, r] = finish(sum over the items of row r of weight * A[m, element])
//
// A workgroup computes SHARE rows of W, which share their columns, times TILE = THREADS * PER rows of A, which it reads
// from planes (see planes.wgsl): neighbouring threads read neighbouring elements, each of them once for all the rows of
// W. THREADS items at a time are staged in workgroup memory, with the element made an address. Rows of W come fastest,
// so that workgroups which run together share their part of A.
//
// What an item is is up to the snippets: begin_of, end_of, element_of, value_of; add_product, finish, store;
// base_of, offset_of.
//
// Bindings: planes (planes_f32.wgsl or planes_words.wgsl); output [M, OUTPUTS] f32; params.M, params.first = the column of output where row 0 of W goes.
// Constants: ROWS = GROUPS * N, N; BLOCK_ROWS = rows of W that an entry has, SHARE = those or 1; THREADS, PER.
struct Params {
  M: u32,
  first: u32,
  base: u32,
}
@group(0) @binding(9) var<uniform> params: Params;

const JOBS = (ROWS + SHARE - 1u) / SHARE;

var<workgroup> offsets: array<u32, THREADS>;
var<workgroup> staged: array<Element, THREADS * SHARE>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let job = id.x + id.y * grid.x;
  let r0 = job % JOBS * SHARE;
  let m0 = job / JOBS * (THREADS * PER);
  if (m0 >= params.M) {
    return;
  }
  // Rows beyond the edge repeat the last; they are not stored.
  var base: array<u32, PER>;
  var sums: array<Sum, PER * SHARE>;
  for (var i = 0u; i < PER; i++) {
    base[i] = base_of(min(m0 + i * THREADS + lane, params.M - 1u));
  }
  let end = end_of(r0 / BLOCK_ROWS);
  for (var first = begin_of(r0 / BLOCK_ROWS); first < end; first += THREADS) {
    let count = min(THREADS, end - first);
    workgroupBarrier();
    if (lane < count) {
      offsets[lane] = offset_of(element_of(first + lane), r0 / N);
      for (var j = 0u; j < SHARE; j++) {
        staged[lane * SHARE + j] = value_of(first + lane, r0 + j);
      }
    }
    workgroupBarrier();
    for (var e = 0u; e < count; e++) {
      let offset = offsets[e];
      for (var i = 0u; i < PER; i++) {
        let a = planes[base[i] + offset];
        for (var j = 0u; j < SHARE; j++) {
          sums[i * SHARE + j] = add_product(sums[i * SHARE + j], a, staged[e * SHARE + j]);
        }
      }
    }
  }
  for (var i = 0u; i < PER; i++) {
    let m = m0 + i * THREADS + lane;
    if (m >= params.M) {
      break;
    }
    for (var j = 0u; j < SHARE; j++) {
      if (r0 + j < ROWS) {
        store(m, params.first + r0 + j, finish(sums[i * SHARE + j], m, r0 + j));
      }
    }
  }
}
