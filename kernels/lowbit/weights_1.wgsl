// Weights of 1 bit, 1 for +1 and 0 for -1: a u32 holds eight words, word i in bit i of each byte.
// Constants: ROW_WORDS = u32 of a row; DEPTH.
@group(0) @binding(1) var<storage, read> weights: array<u32>;

/// W[r, k .. k + 3] as words of four signed bytes, k a multiple of 4; 0 from DEPTH on.
fn weight_quad(r: u32, k: u32) -> vec4<u32> {
  if (k >= DEPTH) {
    return vec4<u32>();
  }
  let bits = vec4<u32>(weights[r * ROW_WORDS + k / 8u] >> (k % 8u)) >> vec4<u32>(0u, 1u, 2u, 3u);
  return differences((bits & vec4<u32>(0x01010101u)) << vec4<u32>(1u), 1u);
}
