// row_sums[m, group, span] = sum over the span's k of the signed codes of A[m, k]: what a zero point of weights multiplies
//
// Bindings: words, samples (through the snippets); row_sums [M, GROUPS, SPANS] i32; params.M.
// Constants: GROUPS, DEPTH; SPANS of SPAN elements, a multiple of 4, cover DEPTH; THREADS.
struct Params {
  M: u32,
}
@group(0) @binding(8) var<storage, read_write> row_sums: array<i32>;
@group(0) @binding(9) var<uniform> params: Params;

fn byte_sum(word: u32) -> i32 {
  let value = bitcast<i32>(word);
  return extractBits(value, 0u, 8u) + extractBits(value, 8u, 8u) + extractBits(value, 16u, 8u) +
    extractBits(value, 24u, 8u);
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (id.x + id.y * grid.x) * THREADS + lane;
  if (i >= params.M * GROUPS * SPANS) {
    return;
  }
  let row = row_at(i / SPANS / GROUPS, i / SPANS % GROUPS);
  let first = i % SPANS * SPAN;
  var sum = 0;
  for (var k = first; k < min(first + SPAN, DEPTH); k += 4u) {
    let quad = row_quad(row, k);
    sum += byte_sum(quad.x) + byte_sum(quad.y) + byte_sum(quad.z) + byte_sum(quad.w);
  }
  row_sums[i] = sum;
}
