// output[to] = input[from], one element a thread: i counts the dimensions DIMS, the last fastest; from and to begin at
// FROM and TO and add each index times FROM_STRIDES and TO_STRIDES. Negative strides are in two's complement.
//
// Elements have 4 bytes, which are moved as they are.
//
// Bindings: input, output; params.size. Constants: RANK, FROM, TO; FROM_STRIDES, TO_STRIDES: array<u32, RANK>; DIMS
// alike, where the first is not read.
struct Params {
  size: u32,
}
@group(0) @binding(0) var<storage, read> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
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
  var a_at = FROM;
  var c_at = TO;
  var rest = i;
  for (var d = RANK - 1u; d > 0u; d--) {
    let at = rest % DIMS[d];
    rest /= DIMS[d];
    a_at += at * FROM_STRIDES[d];
    c_at += at * TO_STRIDES[d];
  }
  output[c_at + rest * TO_STRIDES[0]] = input[a_at + rest * FROM_STRIDES[0]];
}
