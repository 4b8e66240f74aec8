// The scale of group i, stored as f32.
fn scale_at(i: u32) -> f32 { return bitcast<f32>(scales[i]); }
