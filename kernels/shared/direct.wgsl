// output[m, r] = finish(sum over k < DEPTH of A[m, k] * W[r, k]), one output a thread
//
// For groups of few output channels, where tiles would be mostly empty. Neighbouring threads compute neighbouring
// channels, which NHWC images hold side by side.
//
// What A, W, a product and finish mean is up to the snippets: row_at, row_quad (A), load_weights, weight_quad (W),
// dot_add, finish, and the types Element and Sum; row_zero, add_group and Total, which make totals of the sums over SPAN
// columns.
//
// Bindings: output [M, OUTPUTS] f32; params.M, params.first = the column of output where row 0 of W goes.
// Constants: OUTPUTS, N, GROUPS, DEPTH, SPAN; THREADS.
struct Params {
  M: u32,
  first: u32,
}
@group(0) @binding(8) var<storage, read_write> output: array<f32>;
@group(0) @binding(9) var<uniform> params: Params;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  load_weights(lane);
  let i = (id.x + id.y * grid.x) * THREADS + lane;
  let m = i / (GROUPS * N);
  let r = i % (GROUPS * N);
  if (m >= params.M) {
    return;
  }
  let row = row_at(m, r / N);
  let zero = row_zero(m);
  var total = Total();
  for (var k0 = 0u; k0 < DEPTH; k0 += SPAN) {
    var sum = Sum();
    for (var k = k0; k < k0 + SPAN; k += 4u) {
      sum = dot_add(sum, row_quad(row, k), weight_quad(r, k));
    }
    total = add_group(total, sum, zero, r, k0 / SPAN);
  }
  output[m * OUTPUTS + params.first + r] = finish(total, m, r);
}
