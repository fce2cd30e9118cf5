// Matrices of f16 that subgroups multiply, with sums in f32.
alias Stored = f16;
alias Left = subgroup_matrix_left<f16, MATRIX_K, MATRIX_M>;
alias Right = subgroup_matrix_right<f16, MATRIX_N, MATRIX_K>;
alias Result = subgroup_matrix_result<f32, MATRIX_N, MATRIX_M>;

fn stored(element: f16) -> f16 {
  return element;
}
