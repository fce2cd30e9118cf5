// Activations as f32, rounded to f16 as they are read, four at a time: every row and pixel starts at a multiple of 4.
// Products are summed in f32.
@group(0) @binding(0) var<storage, read> input: array<vec4<f32>>;

alias Element = f16;
alias Sum = f32;

fn activation(i: u32) -> f16 {
  return f16(input[i / 4u][i % 4u]);
}

fn activation_quad(i: u32) -> vec4<f16> {
  return vec4<f16>(input[i / 4u]);
}
