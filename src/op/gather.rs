//! Features in another order.

use super::Activations;
use super::checks::{like, matrix, shape};
use crate::device::{Adjoint, Buffer, BufferId, Device, Gradients, Recorder};
use crate::error::Result;
use crate::kernel::gather_columns::{self, GatherColumns, Params};

/// An order of columns on a device: place `i` is taken by column `columns[i]`.
#[derive(Clone, Debug)]
pub struct ColumnOrder {
    columns: Buffer,
    /// Where each column went.
    places: Buffer,
    count: usize,
}

impl ColumnOrder {
    /// Uploads an order.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) unless each column is there once, and those of the device.
    pub fn upload(device: &Device, columns: &[u32]) -> Result<Self> {
        const NOWHERE: u32 = u32::MAX;
        let wrong = |found: String| shape("column order", format!("each of {} columns once", columns.len()), found);
        let mut places = vec![NOWHERE; columns.len()];
        for (place, column) in (0..).zip(columns) {
            match places.get_mut(*column as usize) {
                Some(free @ &mut NOWHERE) => *free = place,
                _ => return Err(wrong(format!("column {column} at place {place}"))),
            }
        }
        Ok(Self { columns: device.upload(columns)?, places: device.upload(&places)?, count: columns.len() })
    }

    /// Number of columns.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> usize {
        self.columns.bytes() + self.places.bytes()
    }

    /// The order that undoes this one.
    fn inverse(&self) -> Self {
        Self { columns: self.places.clone(), places: self.columns.clone(), count: self.count }
    }
}

/// The columns of `x` in another order.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{self, Activations, ColumnOrder}};
/// let device = Device::cpu();
/// let x = Activations::upload(&device, 2, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
/// let order = ColumnOrder::upload(&device, &[2, 0, 1])?;
/// let mut rec = Recorder::new(&device);
/// let y = op::gather_columns(&mut rec, &x, &order)?;
/// rec.submit()?;
/// assert_eq!(pollster::block_on(y.read(&device))?, [3.0, 1.0, 2.0, 6.0, 4.0, 5.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the order is one of another number of columns; as the device refuses memory.
pub fn gather_columns(rec: &mut Recorder, x: &Activations, order: &ColumnOrder) -> Result<Activations> {
    let y = record(rec, x, order)?;
    rec.keep(&[&x.buffer], &[&y.buffer], || GatherAdjoint {
        order: order.clone(),
        x: x.buffer.id(),
        y: y.buffer.id(),
        rows: x.rows,
    });
    Ok(y)
}

fn record(rec: &mut Recorder, x: &Activations, order: &ColumnOrder) -> Result<Activations> {
    const OP: &str = "gather columns";
    let (rows, cols) = matrix(OP, x)?;
    if order.count != x.cols {
        return Err(shape(OP, format!("an order of {} columns", x.cols), format!("one of {}", order.count)));
    }
    let y = like(rec, x)?;
    rec.dispatch::<GatherColumns>(
        &Params { rows, cols },
        gather_columns::variant(),
        &[&x.buffer, &order.columns, &y.buffer],
    )?;
    Ok(y)
}

/// The gradients go back to where the values came from.
#[derive(Debug)]
struct GatherAdjoint {
    order: ColumnOrder,
    x: BufferId,
    y: BufferId,
    rows: usize,
}

impl Adjoint for GatherAdjoint {
    fn record(&self, rec: &mut Recorder, gradients: &mut Gradients) -> Result<()> {
        let Some(buffer) = gradients.take(self.y) else { return Ok(()) };
        let d_y = Activations { buffer, rows: self.rows, cols: self.order.count };
        let d_x = record(rec, &d_y, &self.order.inverse())?;
        gradients.add(rec, self.x, d_x.buffer)
    }
}
