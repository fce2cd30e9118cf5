// activate(y) = min(max(y, LOW), HIGH), where bounded; NaN stays NaN.
// Constants: HAS_LOW, HAS_HIGH: bool; LOW, HIGH: f32. Needs: nan.wgsl.
fn activate(y: f32) -> f32 {
  var clamped = y;
  if (HAS_LOW) {
    clamped = max(clamped, LOW);
  }
  if (HAS_HIGH) {
    clamped = min(clamped, HIGH);
  }
  return select(clamped, y, is_nan(y));
}
