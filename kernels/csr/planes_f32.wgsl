// Planes of f32. Products are summed in f32.
@group(0) @binding(0) var<storage, read> planes: array<f32>;

alias Element = f32;
alias Sum = f32;
