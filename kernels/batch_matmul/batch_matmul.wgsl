// output[b, m, n] = sum over k of input[b, m, k] * input2[b, k, n]
//
// A workgroup computes 32 x 32 outputs of one matrix of the batch, a thread 4 x 4. Both operands are staged in workgroup
// memory, 16 of K at a time and K-major, so that a thread reads its rows and columns as vectors.
//
// Bindings: input, input2, output [batch, M, N]; params.batch = matrices. Operands begin at the sum of each index of the
// batch, counted over the dimensions BATCH, times A_BATCH or B_BATCH, and have the strides A_ROW, A_COL, B_ROW, B_COL.
// Constants: M, N, K; RANK; BATCH, where the first is not read.
struct Params {
  batch: u32,
}
@group(0) @binding(0) var<storage, read> input: array<f32>;
@group(0) @binding(1) var<storage, read> input2: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

const TILE = 32u;
const TILE_K = 16u;
const SIDE = TILE / 4u;
const THREADS = SIDE * SIDE;
/// One more than a tile's row, so that neighbours hit different banks.
const PITCH = SIDE + 1u;

var<workgroup> a_tile: array<vec4<f32>, TILE_K * PITCH>;
var<workgroup> b_tile: array<vec4<f32>, TILE_K * PITCH>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let tiles_m = (M + TILE - 1u) / TILE;
  let tiles_n = (N + TILE - 1u) / TILE;
  let tile = id.x + id.y * grid.x;
  let matrix = tile / (tiles_m * tiles_n);
  if (matrix >= params.batch) {
    return;
  }
  let m0 = tile / tiles_n % tiles_m * TILE;
  let n0 = tile % tiles_n * TILE;
  var a = 0u;
  var b = 0u;
  var rest = matrix;
  for (var d = RANK - 1u; d > 0u; d--) {
    let at = rest % BATCH[d];
    rest /= BATCH[d];
    a += at * A_BATCH[d];
    b += at * B_BATCH[d];
  }
  a += rest * A_BATCH[0];
  b += rest * B_BATCH[0];

  let row = lane / SIDE;
  let column = lane % SIDE;
  var sums: array<vec4<f32>, 4>;
  for (var k0 = 0u; k0 < K; k0 += TILE_K) {
    workgroupBarrier();
    // Each thread stages 2 vectors of each operand. Rows and columns past the edge repeat the last; they are not stored.
    for (var s = lane; s < TILE_K * SIDE; s += THREADS) {
      let k = s % TILE_K;
      let quad = s / TILE_K * 4u;
      let inside = k0 + k < K;
      var x = vec4<f32>();
      var y = vec4<f32>();
      for (var i = 0u; i < 4u; i++) {
        if (inside) {
          x[i] = input[a + min(m0 + quad + i, M - 1u) * A_ROW + (k0 + k) * A_COL];
          y[i] = input2[b + (k0 + k) * B_ROW + min(n0 + quad + i, N - 1u) * B_COL];
        }
      }
      a_tile[k * PITCH + quad / 4u] = x;
      b_tile[k * PITCH + quad / 4u] = y;
    }
    workgroupBarrier();
    for (var k = 0u; k < TILE_K; k++) {
      let x = a_tile[k * PITCH + row];
      let y = b_tile[k * PITCH + column];
      sums[0] += x.x * y;
      sums[1] += x.y * y;
      sums[2] += x.z * y;
      sums[3] += x.w * y;
    }
  }
  for (var i = 0u; i < 4u; i++) {
    let m = m0 + row * 4u + i;
    for (var c = 0u; c < 4u; c++) {
      let n = n0 + column * 4u + c;
      if (m < M && n < N) {
        output[(matrix * M + m) * N + n] = sums[i][c];
      }
    }
  }
}
