// From an integer sum to an integer output. With a, w, za, zw and facts as in finish.wgsl,
//   v = sum over k of (a - za) (w - zw) + bias[r]
// and the result is clamp(v), or where CODES are asked for clamp(round half to even(f32(v) * facts[r].x) + OUTPUT_ZERO),
// bit for bit what src/formats/outputs.ts computes: one conversion and one multiplication, which nothing can be fused
// with. A factor over 2^40 takes every v but 0 past all codes, as 2^40 does.
// Constants: CODES; OUTPUT_ZERO, OUTPUT_LOW, OUTPUT_HIGH; ROWS_PER_SAMPLE; N. Needs: sample_of, row_sum.
@group(0) @binding(3) var<storage, read> facts: array<vec4<i32>>;
@group(0) @binding(4) var<storage, read> bias: array<i32>;

fn finish(sum: i32, m: u32, r: u32) -> i32 {
  let zero = bitcast<i32>(sample_of(m / ROWS_PER_SAMPLE).y);
  let fact = facts[r];
  let value = sum - zero * fact.y - fact.z * row_sum(m, r / N) + bias[r];
  if (!CODES) {
    return clamp(value, OUTPUT_LOW, OUTPUT_HIGH);
  }
  let steps = f32(value) * min(bitcast<f32>(fact.x), 1099511627776.0);
  return clamp(i32(round(clamp(steps, -512.0, 512.0))) + OUTPUT_ZERO, OUTPUT_LOW, OUTPUT_HIGH);
}
