// output[m, r] = finish(sum over k < DEPTH of A[m, k] * W[r, k]), PER outputs a thread
//
// For groups of few output channels, where tiles would be mostly empty. Neighbouring threads compute neighbouring
// channels, which NHWC images hold side by side. Outputs of 8 bits are computed by the word.
//
// What A, W, a product and finish mean is up to the snippets: row_at, row_quad (A), load_weights, weight_quad (W),
// dot_add, finish, store, store_quad, and the types Element and Sum; row_zero, add_group and Total, which make totals of
// the sums over SPAN columns.
//
// Bindings: output [M, OUTPUTS]; params.M, params.first = the column of output where row 0 of W goes.
// Constants: OUTPUTS, N, GROUPS, DEPTH, SPAN; THREADS; PER: 1 or 4.
struct Params {
  M: u32,
  first: u32,
}
@group(0) @binding(9) var<uniform> params: Params;

const ROWS = GROUPS * N;

fn output_of(m: u32, r: u32) -> Output {
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
  return finish(total, m, r);
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  load_weights(lane);
  let i = ((id.x + id.y * grid.x) * THREADS + lane) * PER;
  let end = params.M * ROWS;
  if (i >= end) {
    return;
  }
  if (PER == 4u && ROWS == OUTPUTS) {
    // Rows of A follow each other without gaps: so do these outputs, wherever a row ends.
    var values: vec4<Output>;
    for (var j = 0u; j < 4u; j++) {
      let e = min(i + j, end - 1u);
      values = vec4<Output>(values.yzw, output_of(e / ROWS, e % ROWS));
    }
    store_quad(i / ROWS, i % ROWS, values, min(4u, end - i));
    return;
  }
  for (var e = i; e < min(i + PER, end); e++) {
    store(e / ROWS, params.first + e % ROWS, output_of(e / ROWS, e % ROWS));
  }
}
