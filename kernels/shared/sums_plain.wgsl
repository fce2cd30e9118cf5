// Totals where all columns of a row count alike: the sums themselves.
alias Total = Sum;

fn row_zero(m: u32) -> i32 {
  return 0;
}

fn add_group(total: Total, sum: Sum, zero: i32, r: u32, group: u32) -> Total {
  return total + sum;
}
