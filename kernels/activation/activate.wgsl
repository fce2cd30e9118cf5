// activate(y) = min(max(nonlinearity(y), LOW), HIGH), where bounded; NaN stays NaN.
// Constants: HAS_LOW, HAS_HIGH: bool; LOW, HIGH: f32. Needs: nan.wgsl, nonlinearity.
fn activate(y: f32) -> f32 {
  var clamped = nonlinearity(y);
  if (HAS_LOW) {
    clamped = max(clamped, LOW);
  }
  if (HAS_HIGH) {
    clamped = min(clamped, HIGH);
  }
  return select(clamped, y, is_nan(y));
}
