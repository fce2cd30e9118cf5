// Outputs of 1 bit, 32 in a word; each row of A starts one, and unused bits are 0: the thread with the last output of a
// row clears those behind it. Atomic operations change a thread's own bits and no others.
@group(0) @binding(8) var<storage, read_write> output: array<atomic<u32>>;

alias Output = i32;

fn store_bits(m: u32, r: u32, bits: u32, count: u32) {
  let word = m * ((OUTPUTS + 31u) / 32u) + r / 32u;
  let shift = r % 32u;
  let mask = select((1u << count) - 1u, 0xffffffffu, r + count == OUTPUTS) << shift;
  atomicAnd(&output[word], ~mask);
  atomicOr(&output[word], bits << shift);
}

fn store(m: u32, r: u32, value: i32) {
  store_bits(m, r, u32(value), 1u);
}

/// Output m, r and the count - 1 (0 .. 3) that follow it.
fn store_quad(m: u32, r: u32, values: vec4<i32>, count: u32) {
  if (r % 4u == 0u) {
    let bits = vec4<u32>(values) << vec4<u32>(0u, 1u, 2u, 3u);
    store_bits(m, r, (bits.x | bits.y | bits.z | bits.w) & ((1u << count) - 1u), count);
    return;
  }
  for (var c = 0u; c < 4u; c++) {
    if (c < count) {
      store(m, r + c, values[c]);
    }
  }
}
