fn nonlinearity(x: f32) -> f32 {
  return 2.0 / (1.0 + exp(-2.0 * x)) - 1.0;
}
