@group(0) @binding(3) var<storage, read> input2: array<f32>;

fn affine(y: f32, c: u32) -> f32 {
  return y * input2[c] + input2[COLS + c];
}
