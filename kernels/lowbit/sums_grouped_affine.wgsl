// As sums_grouped.wgsl, where zero points of weights are not taken from their codes: of bytes, whose differences would
// take nine bits. With codes a = activation code - 128, w = weight code - 128 and zero points za, zw:
//   total = sum over groups of scale * f32(sum of a w - za * (sum of w - columns * zw) - zw * sum of a)
// groups[r, group] = (bits of scale, (sum of w - columns * zw) << 8 | byte of zw); row_sums of row_sums.wgsl, a group of
// columns at a time. What row_zero gives is the row: the rest is read where its group is known.
// Constants: ROW_GROUPS = groups of a row; ROWS_PER_SAMPLE; SPAN = elements of a group; GROUPS; N. Needs: sample_of.
@group(0) @binding(3) var<storage, read> groups: array<vec2<i32>>;
@group(0) @binding(5) var<storage, read> row_sums: array<i32>;

alias Total = f32;

struct GroupQuad {
  scale: vec4<f32>,
  fact: vec4<i32>,
  place: u32,
}

fn row_zero(m: u32) -> i32 {
  return i32(m);
}

fn sample_zero(m: i32) -> i32 {
  return bitcast<i32>(sample_of(u32(m) / ROWS_PER_SAMPLE).y);
}

fn group_quad(r: vec4<u32>, group: u32) -> GroupQuad {
  let a = groups[r.x * ROW_GROUPS + group];
  let b = groups[r.y * ROW_GROUPS + group];
  let c = groups[r.z * ROW_GROUPS + group];
  let d = groups[r.w * ROW_GROUPS + group];
  return GroupQuad(
    bitcast<vec4<f32>>(vec4<i32>(a.x, b.x, c.x, d.x)),
    vec4<i32>(a.y, b.y, c.y, d.y),
    r.x / N * ROW_GROUPS + group,
  );
}

fn add_quad(totals: vec4<f32>, sums: vec4<i32>, m: i32, quad: GroupQuad) -> vec4<f32> {
  let row_sum = row_sums[u32(m) * GROUPS * ROW_GROUPS + quad.place];
  let sum = sums - sample_zero(m) * (quad.fact >> vec4<u32>(8u)) - row_sum * extractBits(quad.fact, 0u, 8u);
  return totals + vec4<f32>(sum) * quad.scale;
}

fn add_group(total: f32, sum: i32, m: i32, r: u32, group: u32) -> f32 {
  let fact = groups[r * ROW_GROUPS + group];
  let row_sum = row_sums[(u32(m) * GROUPS + r / N) * ROW_GROUPS + group];
  let rest = sum - sample_zero(m) * (fact.y >> 8u) - row_sum * extractBits(fact.y, 0u, 8u);
  return total + f32(rest) * bitcast<f32>(fact.x);
}
