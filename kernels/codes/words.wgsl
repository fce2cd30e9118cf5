// Bytes of an output, four a thread: whoever computes a word stores it, so that no two threads meet in one. What lies
// behind the last byte stays.
//
// What a byte is is up to the snippet: prepare, which every thread calls first, and byte_of(i).
//
// Bindings: input, output; params.size.x = bytes, params.table = what the snippet wants to know, VECTORS of it.
struct Params {
  size: vec4<u32>,
  table: array<vec4<u32>, VECTORS>,
}
@group(0) @binding(0) var<storage, read> input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

const THREADS = 64u;

/// Byte i of an input of codes.
fn input_byte(i: u32) -> u32 {
  return extractBits(input[i / 4u], i % 4u * 8u, 8u);
}

fn table_at(i: u32) -> u32 {
  return params.table[i / 4u][i % 4u];
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  prepare(lane);
  let at = (id.x + id.y * grid.x) * THREADS + lane;
  if (at * 4u >= params.size.x) {
    return;
  }
  let count = min(4u, params.size.x - at * 4u);
  var word = 0u;
  for (var i = 0u; i < count; i++) {
    word |= (byte_of(at * 4u + i) & 0xffu) << (8u * i);
  }
  if (count < 4u) {
    let mask = (1u << (8u * count)) - 1u;
    word |= output[at] & ~mask;
  }
  output[at] = word;
}
