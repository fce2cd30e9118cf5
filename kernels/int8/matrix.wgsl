// Matrices of signed bytes that subgroups multiply, with sums in i32: exact. They lie in words of four.
alias Stored = i32;
alias Left = subgroup_matrix_left<i8, MATRIX_K, MATRIX_M>;
alias Right = subgroup_matrix_right<i8, MATRIX_N, MATRIX_K>;
alias Result = subgroup_matrix_result<i32, MATRIX_N, MATRIX_M>;

fn stored(element: u32) -> i32 {
  return bitcast<i32>(element);
}
