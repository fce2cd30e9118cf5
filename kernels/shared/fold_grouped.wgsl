// Tiles of gemm.wgsl where columns have scales by group. Needs: row_zero, group_quad, add_quad, and the type Total.
alias Totals = array<vec4<Total>, SUMS>;

/// Adds a thread's sums over the columns of a group to its totals, and clears them. The thread's first row of A and of W
/// are m0 and r0; rows of W beyond `last` repeat it.
fn fold(
  totals: ptr<function, Totals>,
  sums: ptr<function, array<vec4<Sum>, SUMS>>,
  m0: u32,
  r0: u32,
  last: u32,
  group: u32,
) {
  for (var j = 0u; j < PER_N; j++) {
    let quad = group_quad(min(vec4<u32>(r0 + j * SIDE_N * 4u) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(last)), group);
    for (var i = 0u; i < PER_M; i++) {
      for (var part = 0u; part < 4u; part++) {
        let s = (i * PER_N + j) * 4u + part;
        let zero = row_zero(min(m0 + i * SIDE_M * 4u + part, params.M - 1u));
        (*totals)[s] = add_quad((*totals)[s], (*sums)[s], zero, quad);
        (*sums)[s] = vec4<Sum>();
      }
    }
  }
}

fn total_at(totals: ptr<function, Totals>, sums: ptr<function, array<vec4<Sum>, SUMS>>, s: u32) -> vec4<Total> {
  return (*totals)[s];
}
