//! Losses of logits, embeddings and heads, alone and with a tape before them.

use bitsmith::op::{self, Activations, DenseWeight};
use bitsmith::{Device, Error, Random, Recorder};

use crate::check::{Input, check, check_loss};

/// Elements of the larger inputs that differences are taken of.
const SOME: usize = 24;
const IDS: [u32; 7] = [4, 0, 4, 2, 9, 4, 0];

#[test]
fn cross_entropies() {
    let logits = Input::normal(4, 9, 2.0, &mut Random::new(20));
    check_loss("cross_entropy", &[logits], usize::MAX, |rec, x| {
        let found = op::cross_entropy(rec, &x[0], &[3, u32::MAX, 8, 0], 4)?;
        Ok((found.losses, vec![found.gradient.buffer]))
    });
}

#[test]
fn divergences() {
    let mut random = Random::new(21);
    let reference = random.normals(3 * 9);
    check_loss("kl_loss", &[Input::normal(3, 9, 1.5, &mut random)], usize::MAX, |rec, x| {
        let reference = Activations::upload(rec.device(), 3, 9, &reference)?;
        let found = op::kl_loss(rec, &reference, &x[0], 3)?;
        Ok((found.losses, vec![found.gradient.buffer]))
    });
}

#[test]
fn embeddings() {
    let mut random = Random::new(22);
    let table = Input::normal(10, 5, 1.0, &mut random);
    check("embed", std::slice::from_ref(&table), |rec, x| {
        op::embed(rec, &IDS, &DenseWeight::from_values(x[0].clone())?)
    });
    check("last_row", &[table], |rec, x| op::last_row(rec, &x[0]));
}

/// One table at both ends, its head in chunks: what a token's row gets from its places in the text and from the logits adds
/// up, and the tape before the chunks goes on behind them.
#[test]
fn tied_embeddings() {
    const TOKENS: usize = 70;
    let mut random = Random::new(23);
    let ids: Vec<u32> = (0..TOKENS).map(|_| random.below(10)).collect();
    let targets: Vec<u32> = (0..TOKENS).map(|_| random.below(10)).collect();
    let mut input = |rows, size| Input::normal(rows, 6, size, &mut random);
    let inputs = [input(10, 1.0), input(1, 1.0), input(1, 0.5)];
    for rows_at_once in [1, 1000] {
        check_loss("tied", &inputs, SOME, |rec, x| {
            let [table, weight, bias] = x else { unreachable!("three inputs") };
            x.iter().for_each(|input| rec.watch(&input.buffer));
            let tied = DenseWeight::from_values(table.clone())?;
            let embedded = op::embed(rec, &ids, &tied)?;
            let hidden = op::layer_norm(rec, &embedded, &weight.buffer, &bias.buffer, 1e-5)?;
            let loss = op::loss_in_chunks(rec, &hidden, rows_at_once, &[&table.buffer], |rec, x, rows| {
                let logits = op::dense(rec, x, &tied)?;
                let loss = op::cross_entropy(rec, &logits, &targets[rows], TOKENS)?;
                Ok((logits, loss))
            })?;
            let gradients = op::backward(rec, &hidden, &loss.gradient)?;
            let of = |input: &Activations| gradients.of(&input.buffer).expect("it moves the loss").clone();
            let whole = |buffer| Activations { buffer, ..*table };
            let [Some(of_head)] = &loss.watched[..] else { panic!("the head moves the loss") };
            let of_table = op::add(rec, &whole(of(table)), &whole(of_head.clone()))?;
            Ok((loss.losses, vec![of_table.buffer, of(weight), of(bias)]))
        });
    }
}

/// The same loss without chunks on one tape, where the gradients of the table meet by themselves.
#[test]
fn chunks_change_nothing() {
    /// Of the largest gradient: sums of the two chunks' terms in another order.
    const TOLERANCE: f32 = 1e-6;
    let device = Device::cpu();
    let mut random = Random::new(24);
    let table = Activations::upload(&device, 300, 8, &random.normals(300 * 8)).unwrap();
    let reference = Activations::upload(&device, 100, 300, &random.normals(100 * 300)).unwrap();
    let ids: Vec<u32> = (0..100).map(|_| random.below(300)).collect();
    let run = |chunks: bool| {
        let mut rec = Recorder::new(&device);
        rec.watch(&table.buffer);
        let tied = DenseWeight::from_values(table.clone()).unwrap();
        let hidden = op::embed(&mut rec, &ids, &tied).unwrap();
        let (losses, d_table) = if chunks {
            let loss = op::loss_in_chunks(&mut rec, &hidden, 64, &[&table.buffer], |rec, x, rows| {
                let logits = op::dense(rec, x, &tied)?;
                let loss = op::kl_loss(rec, &reference.part(rows)?, &logits, 100)?;
                Ok((logits, loss))
            });
            let loss = loss.unwrap();
            let gradients = op::backward(&mut rec, &hidden, &loss.gradient).unwrap();
            let whole = |buffer: &bitsmith::Buffer| Activations { buffer: buffer.clone(), ..table };
            let parts = [gradients.of(&table.buffer).unwrap(), loss.watched[0].as_ref().unwrap()].map(whole);
            (loss.losses, op::add(&mut rec, &parts[0], &parts[1]).unwrap())
        } else {
            let logits = op::dense(&mut rec, &hidden, &tied).unwrap();
            let loss = op::kl_loss(&mut rec, &reference, &logits, 100).unwrap();
            let gradients = op::backward(&mut rec, &logits, &loss.gradient).unwrap();
            (loss.losses, Activations { buffer: gradients.of(&table.buffer).unwrap().clone(), ..table })
        };
        rec.submit().unwrap();
        [losses, d_table].map(|found| pollster::block_on(found.read(&device)).unwrap())
    };
    let ([losses, d_table], [one_losses, one_d_table]) = (run(true), run(false));
    assert_eq!(losses, one_losses);
    let largest = one_d_table.iter().fold(0f32, |m, g| m.max(g.abs()));
    for (a, b) in d_table.iter().zip(&one_d_table) {
        assert!((a - b).abs() <= TOLERANCE * largest, "{a} is not {b}, of {largest}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let device = Device::cpu();
    let mut rec = Recorder::new(&device);
    let x = Activations::upload(&device, 2, 3, &[0.0; 6]).unwrap();
    let alone = op::loss_in_chunks(&mut rec, &x, 64, &[], |rec, x, rows| {
        let other = Activations::upload(rec.device(), x.rows, 3, &[0.0; 6])?;
        let loss = op::cross_entropy(rec, &other, &vec![0; rows.len()], 2)?;
        Ok((other, loss))
    });
    assert!(matches!(alone, Err(Error::Shape { op: "loss_in_chunks", .. })));
    assert!(matches!(op::cross_entropy(&mut rec, &x, &[0], 2), Err(Error::Shape { op: "cross_entropy", .. })));
    assert!(matches!(op::cross_entropy(&mut rec, &x, &[0, 3], 2), Err(Error::Shape { op: "cross_entropy", .. })));
    let other = Activations::upload(&device, 1, 3, &[0.0; 3]).unwrap();
    assert!(matches!(op::kl_loss(&mut rec, &other, &x, 2), Err(Error::Shape { op: "kl_loss", .. })));
}
