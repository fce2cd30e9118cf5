// Totals of rows whose columns have scales by group: integer sums over a group, scaled and added in f32. With codes
// a = activation code - 128, differences w = weight code - zero point and the sample's zero point za:
//   total = sum over groups of scale * f32(sum of a w - za * sum of w)
// groups[r, group] = (bits of scale, sum of w << 8 | zero point).
// Constants: ROW_GROUPS = groups of a row; ROWS_PER_SAMPLE; SPAN = elements of a group; ZERO = the zero point, or 255
// where groups tell. Needs: sample_of.
@group(0) @binding(3) var<storage, read> groups: array<vec2<i32>>;

alias Total = f32;

struct GroupQuad {
  scale: vec4<f32>,
  sum: vec4<i32>,
}

fn row_zero(m: u32) -> i32 {
  return bitcast<i32>(sample_of(m / ROWS_PER_SAMPLE).y);
}

fn group_quad(r: vec4<u32>, group: u32) -> GroupQuad {
  let a = groups[r.x * ROW_GROUPS + group];
  let b = groups[r.y * ROW_GROUPS + group];
  let c = groups[r.z * ROW_GROUPS + group];
  let d = groups[r.w * ROW_GROUPS + group];
  return GroupQuad(
    bitcast<vec4<f32>>(vec4<i32>(a.x, b.x, c.x, d.x)),
    vec4<i32>(a.y, b.y, c.y, d.y) >> vec4<u32>(8u),
  );
}

fn add_quad(totals: vec4<f32>, sums: vec4<i32>, zero: i32, quad: GroupQuad) -> vec4<f32> {
  return totals + vec4<f32>(sums - zero * quad.sum) * quad.scale;
}

fn add_group(total: f32, sum: i32, zero: i32, r: u32, group: u32) -> f32 {
  let fact = groups[r * ROW_GROUPS + group];
  return total + f32(sum - zero * (fact.y >> 8u)) * bitcast<f32>(fact.x);
}

/// Zero point of the weights of row r at element k.
fn zero_point(r: u32, k: u32) -> u32 {
  if (ZERO < 255u) {
    return ZERO;
  }
  return bitcast<u32>(groups[r * ROW_GROUPS + k / SPAN].y) & 0xffu;
}
