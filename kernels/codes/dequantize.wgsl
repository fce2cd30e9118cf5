// output[i] = f32(input[i] - ZERO) * SCALE, one element a thread, of bytes (signed or not) or of i32.
//
// Bindings: input, output; params.size. Constants: KIND: 0 uint8, 1 int8, 2 int32; ZERO: i32; SCALE: f32.
struct Params {
  size: u32,
}
@group(0) @binding(0) var<storage, read> input: array<i32>;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

const THREADS = 64u;

fn integer_at(i: u32) -> i32 {
  if (KIND == 2u) {
    return input[i];
  }
  let word = input[i / 4u];
  if (KIND == 1u) {
    return extractBits(word, i % 4u * 8u, 8u);
  }
  return extractBits(word, i % 4u * 8u, 8u) & 0xff;
}

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
  output[i] = f32(integer_at(i) - ZERO) * SCALE;
}
