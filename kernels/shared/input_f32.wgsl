// Activations as f32, read one at a time. Products are summed in f32.
@group(0) @binding(0) var<storage, read> input: array<f32>;

alias Element = f32;
alias Sum = f32;

fn activation(i: u32) -> f32 {
  return input[i];
}

fn activation_quad(i: u32) -> vec4<f32> {
  return vec4<f32>(input[i], input[i + 1u], input[i + 2u], input[i + 3u]);
}
