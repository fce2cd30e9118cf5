// Sums of activation codes from row_sums.wgsl, for weights with zero points.
@group(0) @binding(5) var<storage, read> row_sums: array<i32>;

fn row_sum(m: u32, group: u32) -> i32 {
  return row_sums[m * GROUPS + group];
}
