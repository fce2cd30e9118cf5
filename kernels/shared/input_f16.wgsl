// Activations as f32, rounded to f16 as they are read, one at a time. Products are summed in f32.
@group(0) @binding(0) var<storage, read> input: array<f32>;

alias Element = f16;
alias Sum = f32;

fn activation(i: u32) -> f16 {
  return f16(input[i]);
}

fn activation_quad(i: u32) -> vec4<f16> {
  return vec4<f16>(vec4<f32>(input[i], input[i + 1u], input[i + 2u], input[i + 3u]));
}
