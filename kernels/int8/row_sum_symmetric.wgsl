// Weights without zero points multiply no sum of activation codes.
fn row_sum(m: u32, group: u32) -> i32 {
  return 0;
}
