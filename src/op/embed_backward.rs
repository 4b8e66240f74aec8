//! Gradients of tables of which rows were taken.

use std::ops::Range;

use super::checks::size;
use super::weight::DenseWeight;
use crate::device::{Adjoint, Buffer, BufferId, Gradients, Recorder};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernel::embed_backward::{self, EmbedBackward, Params};

const OP: &str = "gradient of an embedding";

/// Rows `ids` of a table went to the rows of y.
#[derive(Debug)]
pub(super) struct EmbedAdjoint {
    pub(super) ids: Vec<u32>,
    /// The rows of each part of the table.
    pub(super) parts: Vec<(Range<usize>, BufferId)>,
    pub(super) cols: usize,
    pub(super) y: BufferId,
}

/// Keeps what the gradient of a table takes.
pub(super) fn keep(rec: &mut Recorder, ids: &[u32], table: &DenseWeight, y: &Buffer) -> Result<()> {
    let inputs: Vec<&Buffer> = table.parts().iter().map(|part| &part.values).collect();
    if table.dtype() != Dtype::F32 && inputs.iter().any(|part| rec.watches(part)) {
        let what = format!("the gradient of an embedding in {}", table.dtype());
        return Err(Error::Unsupported { what, remedy: "take the embedding in f32".into() });
    }
    let parts = || table.parts().iter().map(|part| (part.rows.clone(), part.values.id())).collect();
    rec.keep(&inputs, &[y], || EmbedAdjoint { ids: ids.to_vec(), parts: parts(), cols: table.cols(), y: y.id() });
    Ok(())
}

impl Adjoint for EmbedAdjoint {
    fn record(&self, rec: &mut Recorder, gradients: &mut Gradients) -> Result<()> {
        let Some(d_y) = gradients.take(self.y) else { return Ok(()) };
        for (rows, part) in &self.parts {
            if !gradients.wants(*part) {
                continue;
            }
            let (starts, places) = places(&self.ids, rows);
            let (starts, places) = (rec.device().upload(&starts)?, rec.device().upload(&places)?);
            let d_table = rec.alloc(rows.len() * self.cols * 4)?;
            let params = Params { rows: size(OP, rows.len())?, cols: size(OP, self.cols)? };
            rec.dispatch::<EmbedBackward>(&params, embed_backward::variant(), &[&starts, &places, &d_y, &d_table])?;
            gradients.add(rec, *part, d_table)?;
        }
        Ok(())
    }
}

/// For each row of a part of the table where its places begin in a list, and the list: the places of each row in order.
#[allow(clippy::cast_possible_truncation, reason = "there are fewer than 2^32 ids")]
fn places(ids: &[u32], rows: &Range<usize>) -> (Vec<u32>, Vec<u32>) {
    let mut places: Vec<u32> =
        (0..ids.len() as u32).filter(|at| rows.contains(&(ids[*at as usize] as usize))).collect();
    places.sort_by_key(|at| ids[*at as usize]);
    let mut starts = vec![0u32; rows.len() + 1];
    places.iter().for_each(|at| starts[ids[*at as usize] as usize - rows.start + 1] += 1);
    for row in 0..rows.len() {
        starts[row + 1] += starts[row];
    }
    if places.is_empty() {
        // A binding holds something.
        places.push(0);
    }
    (starts, places)
}

#[cfg(test)]
mod tests {
    use super::places;

    #[test]
    fn places_of_each_row_in_order() {
        let ids = [7, 2, 7, 9, 3, 2, 7];
        assert_eq!(places(&ids, &(2..4)), (vec![0, 2, 3], vec![1, 5, 4]));
        assert_eq!(places(&ids, &(6..10)), (vec![0, 0, 3, 3, 4], vec![0, 2, 6, 3]));
        assert_eq!(places(&ids, &(0..2)), (vec![0, 0, 0], vec![0]));
    }
}
