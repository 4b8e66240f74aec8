use bitsmith::{DeviceRequest, check, eval::*, progress::Silent, quant::*};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let dev = pollster::block_on(check::open_device(&a[1].parse::<DeviceRequest>().unwrap())).unwrap();
    let cfg: RtnConfig = serde_json::from_str(&a[3]).unwrap();
    let req = EvalRequest {
        text: a[4].clone().into(),
        documents: Some("<|endoftext|>".to_string()),
        max_documents: Some(a[5].parse().unwrap()),
        window: Some(a[6].parse().unwrap()),
        ..Default::default()
    };
    let rtn = Rtn::new(cfg).unwrap();
    let mut q = QuantizeRequest::new(&a[2], "/tmp/q_out");
    q.force = true;
    q.skip = a[7..].to_vec();
    let out = pollster::block_on(quantize_model(&dev, &rtn, &q, &mut Silent)).unwrap();
    println!("{:?} {:?}", out.notes, out.record.sizes);
    let e = pollster::block_on(evaluate_folders(&dev, "/tmp/q_out".as_ref(), None, &req, &mut Silent)).unwrap();
    println!("{} {} {} {}s", a[3], rtn.scheme(), e.perplexity, e.seconds);
}
