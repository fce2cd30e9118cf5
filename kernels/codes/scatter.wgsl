// Bytes that fill the output with gaps: as copy/copy.wgsl, one byte a thread. Threads whose bytes share a word change
// nothing but their own, by two atomic operations.
//
// Bindings and constants: those of copy/copy.wgsl.
struct Params {
  size: u32,
}
@group(0) @binding(0) var<storage, read> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> output: array<atomic<u32>>;
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
  a_at += rest * FROM_STRIDES[0];
  c_at += rest * TO_STRIDES[0];
  let byte = extractBits(input[a_at / 4u], a_at % 4u * 8u, 8u);
  let shift = c_at % 4u * 8u;
  atomicAnd(&output[c_at / 4u], ~(0xffu << shift));
  atomicOr(&output[c_at / 4u], byte << shift);
}
