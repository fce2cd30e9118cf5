fn affine(y: f32, c: u32) -> f32 {
  return y;
}
