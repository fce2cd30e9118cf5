// operate(a, b) by its number in BINARY of src/plan/problem.ts. Truth is 1, falsehood 0.
// Constants: OPERATOR: u32. Needs: nan.wgsl.
fn operate(a: f32, b: f32) -> f32 {
  switch OPERATOR {
    case 0u: { return a + b; }
    case 1u: { return a - b; }
    case 2u: { return a * b; }
    case 3u: { return a / b; }
    // min and max may drop a NaN.
    case 4u: { return select(min(a, b), a + b, is_nan(a) || is_nan(b)); }
    case 5u: { return select(max(a, b), a + b, is_nan(a) || is_nan(b)); }
    case 6u: { return power(a, b); }
    case 7u: { return modulo(a, b); }
    case 8u: { return select(1.0, -1.0, a < 0.0) * modulo(abs(a), abs(b)); }
    case 9u: { return select(a, a * b, a < 0.0); }
    case 10u: { return f32(a == b); }
    case 11u: { return f32(a < b); }
    case 12u: { return f32(a <= b); }
    case 13u: { return f32(a != 0.0 && b != 0.0); }
    case 14u: { return f32(a != 0.0 || b != 0.0); }
    case 15u: { return f32((a != 0.0) != (b != 0.0)); }
    case 16u: { return select(0.0, a, b != 0.0); }
    default: { return select(a, 0.0, b != 0.0); }
  }
}

/// a^b; a negative a has powers of integers only: others are a - a over 0, NaN.
fn power(a: f32, b: f32) -> f32 {
  if (b == 0.0 || a == 1.0) {
    return 1.0;
  }
  if (a == 0.0) {
    return select(1.0 / a, 0.0, b > 0.0);
  }
  let size = pow(abs(a), b);
  if (a > 0.0) {
    return size;
  }
  if (floor(b) != b) {
    return log(a);
  }
  return select(size, -size, floor(b * 0.5) != b * 0.5);
}

/// a - b floor(a / b): a quotient may be one off, as division is not exact.
fn modulo(a: f32, b: f32) -> f32 {
  var rest = a - b * floor(a / b);
  if (rest != 0.0 && (rest < 0.0) != (b < 0.0)) {
    rest += b;
  }
  return select(rest, rest - b, abs(rest) >= abs(b));
}
