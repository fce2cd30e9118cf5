// Weights of 4 bits: two u32 hold the codes of four words, word i in bits 4 * (i % 2) of each byte.
// Constants: QUADS, DEPTH.
@group(0) @binding(1) var<storage, read> weights: array<vec2<u32>>;

/// W[r, k .. k + 3] as words of four signed bytes, k a multiple of 4; 0 from DEPTH on.
fn weight_quad(r: u32, k: u32) -> vec4<u32> {
  if (k >= DEPTH) {
    return vec4<u32>();
  }
  let codes = weights[r * QUADS + k / 4u].xxyy >> vec4<u32>(0u, 4u, 0u, 4u);
  return differences(codes & vec4<u32>(0x0f0f0f0fu), zero_point(r, k));
}
