// Weights of 16 bits as rows of QUADS = ceil(DEPTH / 4) pairs of words along K, zero beyond DEPTH.
//
// Implementations may flush halves below 2^-14 to zero when they unpack; so those are made from their bits.
@group(0) @binding(1) var<storage, read> weights: array<vec2<u32>>;

fn load_weights(lane: u32) {}

/// Whether one of the two halves of a word is below 2^-14: taking 1 from its exponent borrows.
fn has_small(word: u32) -> bool {
  return (((word & 0x7c007c00u) - 0x04000400u) & 0x80008000u) != 0u;
}

fn exact(half: u32) -> f32 {
  let magnitude = half & 0x7fffu;
  let normal = bitcast<f32>((magnitude << 13u) + 0x38000000u);
  let value = select(normal, f32(magnitude) * 0x1p-24, magnitude < 0x400u);
  return select(value, -value, (half & 0x8000u) != 0u);
}

/// W[r, k .. k + 3], k a multiple of 4; 0 from DEPTH on.
fn weight_quad(r: u32, k: u32) -> vec4<f32> {
  if (k >= DEPTH) {
    return vec4<f32>();
  }
  let words = weights[r * QUADS + k / 4u];
  if (has_small(words.x) || has_small(words.y)) {
    return vec4<f32>(exact(words.x), exact(words.x >> 16u), exact(words.y), exact(words.y >> 16u));
  }
  return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}
