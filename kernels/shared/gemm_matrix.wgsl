// output[m, r] = finish(sum over k < DEPTH of A[m, k] * W[r, k]), by matrices that a subgroup multiplies
//
// A workgroup computes TILE_M x TILE_N outputs of one group. Rows m of A and r = group * N + n of W are staged in
// workgroup memory, TILE_K columns at a time, each row as it is: W is the right operand by its columns. SIDE_M x SIDE_N
// subgroups hold PER_M x PER_N matrices of sums each. Where subgroups are smaller than they may be there are more of
// them: those only help to stage. Sums pass through workgroup memory, a matrix of each subgroup at a time, to the threads
// that finish them.
//
// What A, W and finish mean is up to the snippets, as in gemm.wgsl; and Stored, stored, Left, Right, Result, which say
// what the matrices hold.
//
// Bindings: output [M, OUTPUTS]; params.M, params.first = the column of output where row 0 of W goes.
// Constants: OUTPUTS, N, GROUPS, DEPTH; MATRIX_M, MATRIX_N, and MATRIX_K, of which COLUMNS are an Element; PER_M, PER_N;
// SIDE_M, SIDE_N; THREADS, at least those of SIDE_M * SIDE_N subgroups; TILE_K, a multiple of MATRIX_K / COLUMNS; GAP =
// elements between rows in workgroup memory, so that they begin in different banks; TILES_N = ceil(N / TILE_N).
struct Params {
  M: u32,
  first: u32,
}
@group(0) @binding(9) var<uniform> params: Params;

const TILE_M = SIDE_M * PER_M * MATRIX_M;
const TILE_N = SIDE_N * PER_N * MATRIX_N;
const SUBGROUPS = SIDE_M * SIDE_N;
const PITCH = TILE_K + GAP;
const K_QUADS = TILE_K / 4u;
/// Rows that all threads stage at once.
const ROWS = THREADS / K_QUADS;
const LOADS_A = TILE_M / ROWS;
const LOADS_W = TILE_N / ROWS;
/// Elements along K of one matrix, and outputs of one.
const STEP = MATRIX_K / COLUMNS;
const SIZE = MATRIX_M * MATRIX_N;

var<workgroup> a_tile: array<Stored, TILE_M * PITCH>;
var<workgroup> w_tile: array<Stored, TILE_N * PITCH>;
var<workgroup> results: array<Sum, SUBGROUPS * SIZE>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
) {
  let tile = id.x + id.y * grid.x;
  let n0 = tile % TILES_N * TILE_N;
  let group = tile / TILES_N % GROUPS;
  let m0 = tile / (TILES_N * GROUPS) * TILE_M;
  if (m0 >= params.M) {
    return;
  }
  load_weights(lane);

  // Rows beyond the edge repeat the last; they are not stored.
  let stage_k = lane % K_QUADS * 4u;
  let stage_row = lane / K_QUADS;
  var rows: array<Row, LOADS_A>;
  for (var i = 0u; i < LOADS_A; i++) {
    rows[i] = row_at(min(m0 + stage_row + i * ROWS, params.M - 1u), group);
  }
  let row0 = subgroup / SIDE_N * PER_M * MATRIX_M;
  let column0 = subgroup % SIDE_N * PER_N * MATRIX_N;
  var sums: array<Result, PER_M * PER_N>;

  for (var k0 = 0u; k0 < DEPTH; k0 += TILE_K) {
    var a: array<vec4<Element>, LOADS_A>;
    var w: array<vec4<Element>, LOADS_W>;
    for (var i = 0u; i < LOADS_A; i++) {
      a[i] = row_quad(rows[i], k0 + stage_k);
    }
    for (var i = 0u; i < LOADS_W; i++) {
      w[i] = weight_quad(group * N + min(n0 + stage_row + i * ROWS, N - 1u), k0 + stage_k);
    }
    workgroupBarrier();
    for (var i = 0u; i < LOADS_A; i++) {
      let at = (stage_row + i * ROWS) * PITCH + stage_k;
      for (var j = 0u; j < 4u; j++) {
        a_tile[at + j] = stored(a[i][j]);
      }
    }
    for (var i = 0u; i < LOADS_W; i++) {
      let at = (stage_row + i * ROWS) * PITCH + stage_k;
      for (var j = 0u; j < 4u; j++) {
        w_tile[at + j] = stored(w[i][j]);
      }
    }
    workgroupBarrier();
    if (subgroup < SUBGROUPS) {
      for (var k = 0u; k < TILE_K; k += STEP) {
        var right: array<Right, PER_N>;
        for (var j = 0u; j < PER_N; j++) {
          right[j] = subgroupMatrixLoad<Right, col_major>(&w_tile, (column0 + j * MATRIX_N) * PITCH + k, PITCH);
        }
        for (var i = 0u; i < PER_M; i++) {
          let left = subgroupMatrixLoad<Left, row_major>(&a_tile, (row0 + i * MATRIX_M) * PITCH + k, PITCH);
          for (var j = 0u; j < PER_N; j++) {
            let s = i * PER_N + j;
            sums[s] = subgroupMatrixMultiplyAccumulate(left, right[j], sums[s]);
          }
        }
      }
    }
  }

  for (var i = 0u; i < PER_M; i++) {
    for (var j = 0u; j < PER_N; j++) {
      if (subgroup < SUBGROUPS) {
        subgroupMatrixStore<row_major>(&results, subgroup * SIZE, sums[i * PER_N + j], MATRIX_N);
      }
      workgroupBarrier();
      for (var q = lane; q < SUBGROUPS * SIZE / 4u; q += THREADS) {
        let owner = q / (SIZE / 4u);
        let cell = q % (SIZE / 4u) * 4u;
        let m = m0 + (owner / SIDE_N * PER_M + i) * MATRIX_M + cell / MATRIX_N;
        let n = n0 + (owner % SIDE_N * PER_N + j) * MATRIX_N + cell % MATRIX_N;
        if (m < params.M && n < N) {
          let r = group * N + n;
          let last = group * N + N - 1u;
          let values = vec4<Output>(
            finish(results[4u * q], m, r),
            finish(results[4u * q + 1u], m, min(r + 1u, last)),
            finish(results[4u * q + 2u], m, min(r + 2u, last)),
            finish(results[4u * q + 3u], m, min(r + 3u, last)),
          );
          store_quad(m, params.first + r, values, min(4u, N - n));
        }
      }
      workgroupBarrier();
    }
  }
}
