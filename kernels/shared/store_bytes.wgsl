// Outputs of 8 bits, OUTPUTS to a row of A, four in a word without gaps between rows. Whoever has all four bytes of a
// word stores it. Else two atomic operations change one byte and no other, so that threads whose bytes share a word meet
// in any order, and what lies behind the last byte stays.
@group(0) @binding(8) var<storage, read_write> output: array<atomic<u32>>;

alias Output = i32;

fn store_byte(at: u32, value: i32) {
  let shift = at % 4u * 8u;
  atomicAnd(&output[at / 4u], ~(0xffu << shift));
  atomicOr(&output[at / 4u], (bitcast<u32>(value) & 0xffu) << shift);
}

fn store(m: u32, r: u32, value: i32) {
  store_byte(m * OUTPUTS + r, value);
}

/// Output m, r and the count - 1 (0 .. 3) that follow it.
fn store_quad(m: u32, r: u32, values: vec4<i32>, count: u32) {
  let at = m * OUTPUTS + r;
  if (count == 4u && at % 4u == 0u) {
    let bytes = (bitcast<vec4<u32>>(values) & vec4<u32>(0xffu)) << vec4<u32>(0u, 8u, 16u, 24u);
    atomicStore(&output[at / 4u], bytes.x | bytes.y | bytes.z | bytes.w);
    return;
  }
  for (var c = 0u; c < 4u; c++) {
    if (c < count) {
      store_byte(at + c, values[c]);
    }
  }
}
