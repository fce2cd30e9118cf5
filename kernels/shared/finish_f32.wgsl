// The end of a sum of products of floats: activate(sum + bias[r]).
@group(0) @binding(2) var<storage, read> bias: array<f32>;

fn finish(sum: f32, m: u32, r: u32) -> f32 {
  return activate(sum + bias[r]);
}
