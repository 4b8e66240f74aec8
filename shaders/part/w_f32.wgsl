// Element i of the weight `w`, stored as f32.
fn w_bits(i: u32) -> u32 { return w[i]; }
fn w_at(i: u32) -> f32 { return bitcast<f32>(w_bits(i)); }
