//! A block of every architecture: gradients of its input and of each of its parameters, beside those that torch computed in
//! f64 (tests/golden/make_gradients.py).

use std::path::Path;

use bitsmith::io::Checkpoint;
use bitsmith::model::{LoadedBlock, StreamedModel};
use bitsmith::op::{self, Activations, DenseWeight};
use bitsmith::{Buffer, Device, Recorder};
use safetensors::SafeTensors;

/// Of the largest gradient of a parameter: f32 rounding through a block, whose sums run over up to 18 rows and 128 columns.
const TOLERANCE: f32 = 1e-5;
/// Where all gradients of a parameter are smaller than this share of the block's largest, they are compared with that share:
/// OPT's bias of keys moves nothing, and its gradient is what the rounding of larger terms leaves.
const LEAST: f32 = 0.05;
const SEQUENCES: usize = 2;

#[test]
fn gradients_are_those_of_torch() {
    for (family, index) in
        [("llama-biases", 1), ("qwen3-norms", 0), ("opt-unprefixed", 1), ("opt-350m-like", 1), ("gpt2-tied", 1)]
    {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let bytes =
            std::fs::read(golden.join(format!("gradients/{family}.safetensors"))).expect("the vectors are there");
        let expected = SafeTensors::deserialize(&bytes).expect("they can be read");
        let folder = golden.join("families").join(family);
        let device = Device::cpu();
        let model = StreamedModel::open(&folder, &device).expect("the family is there");
        let mut block = model.block(index).expect("it has the block");
        let weights =
            widen(&mut block, &Checkpoint::open(&folder).expect("it has weights"), &device, family == "gpt2-tied");

        let hidden = model.config().hidden_size;
        let [x, d_y] = ["x", "d_y"].map(|name| {
            let values = values(&expected, name);
            Activations::upload(&device, values.len() / hidden, hidden, &values).expect("it fits")
        });
        let mut rec = Recorder::new(&device);
        let mut watched: Vec<(String, Buffer)> = vec![("d_x".to_owned(), x.buffer.clone())];
        watched.extend(weights);
        watched.extend(biases(&block));
        watched.extend(block.norms().into_iter().map(|(name, norm)| (name, norm.clone())));
        watched.iter().for_each(|(_, buffer)| rec.watch(buffer));
        let mut cache = model.cache(SEQUENCES, x.rows / SEQUENCES).expect("it fits");
        let y = block.forward(&mut rec, x.clone(), &mut cache).expect("it records");
        let gradients = op::backward(&mut rec, &y, &d_y).expect("the way back records");
        rec.submit().expect("it runs");

        let read = |buffer: &Buffer| pollster::block_on(device.read::<f32>(buffer)).expect("it can be read");
        near(family, "y", &read(&y.buffer), &values(&expected, "y"), 0.0);
        let names: Vec<_> = expected.names().into_iter().filter(|name| !["x", "y", "d_y"].contains(name)).collect();
        let largest = names.iter().map(|name| most(&values(&expected, name))).fold(0.0, f32::max);
        for name in names {
            // The parts of a parameter that is held in several pieces follow one another.
            let parts = watched.iter().filter(|(part, _)| name == part || name.ends_with(&format!(".{part}")));
            let found: Vec<f32> = parts
                .flat_map(|(_, buffer)| {
                    let mut found = read(gradients.of(buffer).expect("it moves the result"));
                    found.truncate(buffer.bytes() / 4);
                    found
                })
                .collect();
            near(family, name, &found, &values(&expected, name), LEAST * largest);
        }
    }
}

/// Gives each linear layer its weight in f32: `[out, in]`, under its name; the checkpoint may hold them transposed.
fn widen(block: &mut LoadedBlock, checkpoint: &Checkpoint, device: &Device, transposed: bool) -> Vec<(String, Buffer)> {
    let mut weights = Vec::new();
    for linear in block.linears_mut().into_iter().flatten() {
        let name = format!("{}.weight", linear.path());
        let tensor = checkpoint.tensor(&name).expect("it is in the checkpoint");
        let [rows, cols] = linear.shape();
        let stored = tensor.to_f32();

        let wide = tensor.shape()[1];
        let at = |row: usize, col: usize| if transposed { col * wide + row } else { row * wide + col };
        let values: Vec<f32> =
            linear.rows().flat_map(|row| (0..cols).map(move |col| (row, col))).map(|(r, c)| stored[at(r, c)]).collect();
        let weight = Activations::upload(device, rows, cols, &values).expect("it fits");
        weights.push((name, weight.buffer.clone()));
        linear.set_dense(DenseWeight::from_values(weight).expect("it is whole")).expect("it has the shape");
    }
    weights
}

fn biases(block: &LoadedBlock) -> Vec<(String, Buffer)> {
    let linears = block.linears().into_iter().flatten();
    linears.filter_map(|l| l.bias().map(|bias| (format!("{}.bias", l.path()), bias.clone()))).collect()
}

fn values(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).expect("it is in the file");
    tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn most(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, value| most.max(value.abs()))
}

fn near(family: &str, name: &str, found: &[f32], expected: &[f32], least: f32) {
    assert_eq!(found.len(), expected.len(), "{family}, {name}");
    let largest = most(expected).max(least);
    let worst = found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
    assert!(worst <= TOLERANCE * largest, "{family}, {name}: off by {worst}, of {largest}");
}
