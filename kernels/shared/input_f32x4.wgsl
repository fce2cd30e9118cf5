// Activations as f32, read four at a time: every row and pixel starts at a multiple of 4. Products are summed in f32.
@group(0) @binding(0) var<storage, read> input: array<vec4<f32>>;

alias Element = f32;
alias Sum = f32;

fn activation(i: u32) -> f32 {
  return input[i / 4u][i % 4u];
}

fn activation_quad(i: u32) -> vec4<f32> {
  return input[i / 4u];
}
