// output[m, r] = finish(sum over k < DEPTH of A[m, k] * W[r, k])
//
// A workgroup computes TILE_M x TILE_N outputs of one group: rows m of A, rows r = group * N + n of W. Both are staged in
// workgroup memory, TILE_K columns at a time and K-major, so that a thread reads its rows as vectors. A thread holds
// (4 * PER_M) x (4 * PER_N) sums: rows 4 * (i * SIDE_M + thread) + 0..3 for i < PER_M, which spreads its reads over the
// banks.
//
// What A, W, a product and finish mean is up to the snippets: row_at, row_quad (A), load_weights, weight_quad (W),
// multiply_add, finish, the types Element and Sum, and store_quad. Where columns have scales by group (GROUPED), sums become totals
// after every SPAN columns: fold, total_at, and the type Totals.
//
// Bindings: output [M, OUTPUTS]; params.M, params.first = the column of output where row 0 of W goes.
// Constants: OUTPUTS, N, GROUPS, GROUPED, SPAN; SIDE_M, SIDE_N, THREADS = SIDE_M * SIDE_N; PER_M, PER_N; TILE_K, so that a thread
// stages at most one 4 x 4 block of A and one of W a step; TILES_N = ceil(N / TILE_N); DEPTH.
struct Params {
  M: u32,
  first: u32,
}
@group(0) @binding(9) var<uniform> params: Params;

const TILE_M = 4u * SIDE_M * PER_M;
const TILE_N = 4u * SIDE_N * PER_N;
/// One vector more than a tile's row, so that the transposing stores hit different banks.
const PITCH_A = TILE_M / 4u + 1u;
const PITCH_W = TILE_N / 4u + 1u;
const K_QUADS = TILE_K / 4u;
/// Blocks of 4 x 4 to stage.
const BLOCKS_A = TILE_M / 4u * K_QUADS;
const BLOCKS_W = TILE_N / 4u * K_QUADS;

var<workgroup> a_tile: array<vec4<Element>, TILE_K * PITCH_A>;
var<workgroup> w_tile: array<vec4<Element>, TILE_K * PITCH_W>;

const SUMS = 4u * PER_M * PER_N;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let tile = id.x + id.y * grid.x;
  let n0 = tile % TILES_N * TILE_N;
  let group = tile / TILES_N % GROUPS;
  let m0 = tile / (TILES_N * GROUPS) * TILE_M;
  if (m0 >= params.M) {
    return;
  }
  load_weights(lane);

  // The blocks that this thread stages: 4 rows, 4 columns. Rows beyond the edge repeat the last; they are not stored.
  let stage_k = lane % K_QUADS * 4u;
  let stage_row = lane / K_QUADS;
  var rows: array<Row, 4>;
  var r: array<u32, 4>;
  for (var i = 0u; i < 4u; i++) {
    rows[i] = row_at(min(m0 + stage_row * 4u + i, params.M - 1u), group);
    r[i] = group * N + min(n0 + stage_row * 4u + i, N - 1u);
  }
  let slot_a = stage_k * PITCH_A + stage_row;
  let slot_w = stage_k * PITCH_W + stage_row;
  let stages_a = BLOCKS_A == THREADS || lane < BLOCKS_A;
  let stages_w = BLOCKS_W == THREADS || lane < BLOCKS_W;

  let row = lane / SIDE_N;
  let column = lane % SIDE_N;
  let r0 = group * N + n0 + column * 4u;
  var sums: array<vec4<Sum>, SUMS>;
  var totals: Totals;

  for (var k0 = 0u; k0 < DEPTH; k0 += TILE_K) {
    let k = k0 + stage_k;
    var a: array<vec4<Element>, 4>;
    var w: array<vec4<Element>, 4>;
    if (stages_a) {
      for (var i = 0u; i < 4u; i++) {
        a[i] = row_quad(rows[i], k);
      }
    }
    if (stages_w) {
      for (var i = 0u; i < 4u; i++) {
        w[i] = weight_quad(r[i], k);
      }
    }
    workgroupBarrier();
    if (stages_a) {
      a_tile[slot_a] = vec4<Element>(a[0].x, a[1].x, a[2].x, a[3].x);
      a_tile[slot_a + PITCH_A] = vec4<Element>(a[0].y, a[1].y, a[2].y, a[3].y);
      a_tile[slot_a + 2u * PITCH_A] = vec4<Element>(a[0].z, a[1].z, a[2].z, a[3].z);
      a_tile[slot_a + 3u * PITCH_A] = vec4<Element>(a[0].w, a[1].w, a[2].w, a[3].w);
    }
    if (stages_w) {
      w_tile[slot_w] = vec4<Element>(w[0].x, w[1].x, w[2].x, w[3].x);
      w_tile[slot_w + PITCH_W] = vec4<Element>(w[0].y, w[1].y, w[2].y, w[3].y);
      w_tile[slot_w + 2u * PITCH_W] = vec4<Element>(w[0].z, w[1].z, w[2].z, w[3].z);
      w_tile[slot_w + 3u * PITCH_W] = vec4<Element>(w[0].w, w[1].w, w[2].w, w[3].w);
    }
    workgroupBarrier();
    for (var step = 0u; step < TILE_K; step++) {
      var w: array<vec4<Element>, PER_N>;
      for (var j = 0u; j < PER_N; j++) {
        w[j] = w_tile[step * PITCH_W + j * SIDE_N + column];
      }
      for (var i = 0u; i < PER_M; i++) {
        let a = a_tile[step * PITCH_A + i * SIDE_M + row];
        for (var j = 0u; j < PER_N; j++) {
          let s = (i * PER_N + j) * 4u;
          sums[s] = multiply_add(sums[s], a.x, w[j]);
          sums[s + 1u] = multiply_add(sums[s + 1u], a.y, w[j]);
          sums[s + 2u] = multiply_add(sums[s + 2u], a.z, w[j]);
          sums[s + 3u] = multiply_add(sums[s + 3u], a.w, w[j]);
        }
      }
      let end = k0 + step + 1u;
      if (GROUPED && end <= DEPTH && (end % SPAN == 0u || end == DEPTH)) {
        fold(&totals, &sums, m0 + row * 4u, r0, group * N + N - 1u, (end - 1u) / SPAN);
      }
    }
  }

  for (var i = 0u; i < PER_M; i++) {
    for (var part = 0u; part < 4u; part++) {
      let m = m0 + (i * SIDE_M + row) * 4u + part;
      if (m >= params.M) {
        break;
      }
      for (var j = 0u; j < PER_N; j++) {
        let n = n0 + (j * SIDE_N + column) * 4u;
        if (n < N) {
          // Columns beyond the edge repeat the last; they are not stored.
          let total = total_at(&totals, &sums, (i * PER_N + j) * 4u + part);
          let r = group * N + n;
          let last = group * N + N - 1u;
          let values = vec4<Output>(
            finish(total.x, m, r),
            finish(total.y, m, min(r + 1u, last)),
            finish(total.z, m, min(r + 2u, last)),
            finish(total.w, m, min(r + 3u, last)),
          );
          store_quad(m, params.first + r, values, min(4u, N - n));
        }
      }
    }
  }
}
