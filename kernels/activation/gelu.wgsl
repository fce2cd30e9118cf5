// x (1 + erf(x / sqrt 2)) / 2, erf by Abramowitz and Stegun 1964, 7.1.26.
fn nonlinearity(x: f32) -> f32 {
  let z = min(abs(x) * 0.70710678, 9.0);
  let t = 1.0 / (1.0 + 0.3275911 * z);
  let p = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  let tail = p * exp(-z * z);
  return 0.5 * x * select(2.0 - tail, tail, x < 0.0);
}
