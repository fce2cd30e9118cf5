// output[i] = activate(input[a] OPERATOR input2[b]), one element a thread
//
// i counts C's dimensions DIMS, the last fastest; a and b are the sums of each index times A_STRIDES and B_STRIDES
// (0 along a broadcast dimension). A dense operand (A_DENSE, B_DENSE) is read at i.
//
// Bindings: input, input2, output; params.size = elements of C.
// Constants: RANK, A_STRIDES, B_STRIDES: array<u32, RANK>; DIMS alike, where the first is not read;
// A_DENSE, B_DENSE: bool. Needs: operate, activate.wgsl.
struct Params {
  size: u32,
}
@group(0) @binding(0) var<storage, read> input: array<f32>;
@group(0) @binding(1) var<storage, read> input2: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

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
  var b = 0u;
  if (!A_DENSE || !B_DENSE) {
    var rest = i;
    for (var d = RANK - 1u; d > 0u; d--) {
      let at = rest % DIMS[d];
      rest /= DIMS[d];
      a += at * A_STRIDES[d];
      b += at * B_STRIDES[d];
    }
    a += rest * A_STRIDES[0];
    b += rest * B_STRIDES[0];
  }
  output[i] = activate(operate(input[select(a, i, A_DENSE)], input2[select(b, i, B_DENSE)]));
}
