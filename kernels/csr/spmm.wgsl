// output[m, r] = activate(sum over the entries of row r of value * A[m, column] + bias[r])
//
// A workgroup computes one row of W times TILE = THREADS * PER rows of A, which it reads from planes (see planes.wgsl):
// neighbouring threads read neighbouring floats. THREADS entries at a time are staged in workgroup memory, with the
// column made an address. Rows of W come fastest, so that workgroups which run together share their part of A.
//
// Bindings: planes; indptr, indices, values, bias (weights.wgsl); output [M, ROWS] f32; params.M.
// Constants: ROWS = GROUPS * N, N; THREADS, PER. Needs: base_of, offset_of.
struct Params {
  M: u32,
}
@group(0) @binding(0) var<storage, read> planes: array<f32>;
@group(0) @binding(8) var<storage, read_write> output: array<f32>;
@group(0) @binding(9) var<uniform> params: Params;

struct Entry {
  offset: u32,
  value: f32,
}
var<workgroup> staged: array<Entry, THREADS>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let job = id.x + id.y * grid.x;
  let r = job % ROWS;
  let m0 = job / ROWS * (THREADS * PER);
  if (m0 >= params.M) {
    return;
  }
  // Rows beyond the edge repeat the last; they are not stored.
  var base: array<u32, PER>;
  var sums: array<f32, PER>;
  for (var i = 0u; i < PER; i++) {
    base[i] = base_of(min(m0 + i * THREADS + lane, params.M - 1u));
  }
  let end = indptr[r + 1u];
  for (var first = indptr[r]; first < end; first += THREADS) {
    let count = min(THREADS, end - first);
    workgroupBarrier();
    if (lane < count) {
      staged[lane] = Entry(offset_of(column_of(first + lane), r / N), values[first + lane]);
    }
    workgroupBarrier();
    for (var e = 0u; e < count; e++) {
      let entry = staged[e];
      for (var i = 0u; i < PER; i++) {
        sums[i] += entry.value * planes[base[i] + entry.offset];
      }
    }
  }
  for (var i = 0u; i < PER; i++) {
    let m = m0 + i * THREADS + lane;
    if (m < params.M) {
      output[m * ROWS + r] = activate(sums[i] + bias[r]);
    }
  }
}
