// Weights of 2 bits: a u32 holds the codes of four words, word i in bits 2 * i of each byte.
// Constants: QUADS, DEPTH.
@group(0) @binding(1) var<storage, read> weights: array<u32>;

/// W[r, k .. k + 3] as words of four signed bytes, k a multiple of 4; 0 from DEPTH on.
fn weight_quad(r: u32, k: u32) -> vec4<u32> {
  if (k >= DEPTH) {
    return vec4<u32>();
  }
  let codes = vec4<u32>(weights[r * QUADS + k / 4u]) >> vec4<u32>(0u, 2u, 4u, 6u);
  return differences(codes & vec4<u32>(0x03030303u), zero_point(r, k));
}
