// x (1 + tanh u) / 2 = x sigmoid(2 u)
fn nonlinearity(x: f32) -> f32 {
  return x / (1.0 + exp(-1.5957691216 * (x + 0.044715 * x * x * x)));
}
