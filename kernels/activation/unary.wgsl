// nonlinearity(x) by its number in UNARY of src/plan/problem.ts, for the functions that end no layer.
// Constants: FUNCTION: u32.
fn nonlinearity(x: f32) -> f32 {
  switch FUNCTION {
    case 7u: { return exp(x); }
    case 8u: { return log(x); }
    case 9u: { return sqrt(x); }
    case 10u: { return 1.0 / x; }
    case 11u: { return abs(x); }
    case 12u: { return erf(x); }
    case 13u: { return select(x, exp(x) - 1.0, x < 0.0); }
    case 14u: { return max(x, 0.0) + log(1.0 + exp(-abs(x))); }
    case 15u: { return floor(x); }
    case 16u: { return ceil(x); }
    case 17u: { return round(x); }
    case 18u: { return sign(x); }
    // Not every GPU is exact far from 0.
    case 19u: { return sin(turn(x)); }
    default: { return cos(turn(x)); }
  }
}

/// x less whole turns, 2 pi in two parts.
fn turn(x: f32) -> f32 {
  let n = round(x * 0.15915494);
  return (x - n * 6.28125) - n * 1.93530718e-3;
}

/// Abramowitz and Stegun 1964, 7.1.26.
fn erf(x: f32) -> f32 {
  let z = min(abs(x), 9.0);
  let t = 1.0 / (1.0 + 0.3275911 * z);
  let p = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return sign(x) * (1.0 - p * exp(-z * z));
}
