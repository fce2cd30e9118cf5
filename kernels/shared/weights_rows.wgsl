// Weights as rows of QUADS = ceil(DEPTH / 4) vectors along K, zero beyond DEPTH.
@group(0) @binding(1) var<storage, read> weights: array<vec4<Element>>;

fn load_weights(lane: u32) {}

/// W[r, k .. k + 3], k a multiple of 4; 0 from DEPTH on.
fn weight_quad(r: u32, k: u32) -> vec4<Element> {
  if (k >= DEPTH) {
    return vec4<Element>();
  }
  return weights[r * QUADS + k / 4u];
}
