use bitsmith::{DeviceRequest, check, eval::*, model::*, progress::Silent, quant::*};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let t = std::time::Instant::now();
    let dev = pollster::block_on(check::open_device(&a[1].parse::<DeviceRequest>().unwrap())).unwrap();
    println!("open {:?} {:?}", t.elapsed(), dev.caps());
    let docs = Some("<|endoftext|>".to_string());
    let req = EvalRequest {
        text: a[3].clone().into(),
        documents: docs,
        max_documents: a.get(4).map(|x| x.parse().unwrap()),
        window: a.get(5).map(|w| w.parse().unwrap()),
        ..Default::default()
    };
    let e = pollster::block_on(evaluate_folders(&dev, a[2].as_ref(), a.get(6).map(|s| s.as_ref()), &req, &mut Silent))
        .unwrap();
    println!("{}", serde_json::to_string_pretty(&e).unwrap());
    let m = Model::open(a[2].as_ref(), &dev).unwrap();
    let g = pollster::block_on(generate(&m, &[1], 50, Sampling::default(), |_| true)).unwrap();
    println!("{:?} {:?}", g, dev.memory());
    let _ = Rtn::new(RtnConfig::default());
}
