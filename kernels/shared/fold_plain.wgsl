// Tiles of gemm.wgsl where all columns of a row count alike: there are no totals but the sums.
alias Totals = u32;

fn fold(
  totals: ptr<function, Totals>,
  sums: ptr<function, array<vec4<Sum>, SUMS>>,
  m0: u32,
  r0: u32,
  last: u32,
  group: u32,
) {}

fn total_at(totals: ptr<function, Totals>, sums: ptr<function, array<vec4<Sum>, SUMS>>, s: u32) -> vec4<Total> {
  return (*sums)[s];
}
