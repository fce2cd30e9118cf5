// output[i] = input[a], one element a thread: i counts C's dimensions DIMS, the last fastest, and a is the sum of each
// index times STRIDES, A's stride along that dimension
//
// Bindings: input, output; params.size. Constants: RANK, STRIDES: array<u32, RANK>; DIMS alike, where the first is not
// read.
struct Params {
  size: u32,
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
  let i = (id.x + id.y * grid.x) * THREADS + lane;
  if (i >= params.size) {
    return;
  }
  var a = 0u;
  var rest = i;
  for (var d = RANK - 1u; d > 0u; d--) {
    a += rest % DIMS[d] * STRIDES[d];
    rest /= DIMS[d];
  }
  output[i] = input[a + rest * STRIDES[0]];
}
