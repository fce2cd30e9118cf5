// output[o, i, n] = sum over t < TAPS of weight[i, t] * input[o, index[i, t], n], one element a thread
//
// Bindings: input [outer, IN_SIZE, INNER], output [outer, OUT_SIZE, INNER]; params.size = elements of output, then for
// each i and t an index and the bits of a weight, two pairs a vector. Constants: VECTORS of those.
struct Params {
  size: vec4<u32>,
  table: array<vec4<u32>, VECTORS>,
}
@group(0) @binding(0) var<storage, read> input: array<f32>;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

const THREADS = 64u;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let at = (id.x + id.y * grid.x) * THREADS + lane;
  if (at >= params.size.x) {
    return;
  }
  let row = at / INNER;
  let start = row / OUT_SIZE * IN_SIZE;
  var sum = 0.0;
  for (var t = row % OUT_SIZE * TAPS; t < (row % OUT_SIZE + 1u) * TAPS; t++) {
    let pair = select(params.table[t / 2u].xy, params.table[t / 2u].zw, t % 2u == 1u);
    sum += bitcast<f32>(pair.y) * input[(start + pair.x) * INNER + at % INNER];
  }
  output[at] = sum;
}
