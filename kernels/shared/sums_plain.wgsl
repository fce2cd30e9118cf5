// Totals where all columns of a row count alike: the sums themselves.
alias Total = Sum;

struct GroupQuad {
  none: u32,
}

fn row_zero(m: u32) -> i32 {
  return 0;
}

fn group_quad(r: vec4<u32>, group: u32) -> GroupQuad {
  return GroupQuad(0u);
}

fn add_quad(totals: vec4<Total>, sums: vec4<Sum>, zero: i32, quad: GroupQuad) -> vec4<Total> {
  return totals + sums;
}

fn add_group(total: Total, sum: Sum, zero: i32, r: u32, group: u32) -> Total {
  return total + sum;
}
