//! A look at what goes into the layers of a block.

use std::rc::Rc;

use super::CalibratedBlock;
use crate::device::Recorder;
use crate::error::Result;
use crate::model::{Observer, StreamedModel};

impl CalibratedBlock {
    /// Shows observers all inputs of layers as the block computes now: the observer at place i those of the i-th list of
    /// [`LoadedBlock::linears`](crate::model::LoadedBlock::linears), whose layers share them.
    ///
    /// # Errors
    /// Those of the device.
    pub fn observe(&mut self, model: &StreamedModel, observers: &[Option<Rc<dyn Observer>>]) -> Result<()> {
        if observers.iter().all(Option::is_none) {
            return Ok(());
        }
        self.set(observers);
        let seen = self.show(model);
        self.set(&vec![None; observers.len()]);
        seen
    }

    fn set(&mut self, observers: &[Option<Rc<dyn Observer>>]) {
        for (linears, observer) in self.block.linears_mut().into_iter().zip(observers) {
            if let Some(first) = linears.into_iter().next() {
                first.set_observer(observer.clone());
            }
        }
    }

    fn show(&self, model: &StreamedModel) -> Result<()> {
        let mut cache = model.cache(1, self.inputs.tokens())?;
        for index in 0..self.inputs.len() {
            let mut rec = Recorder::new(model.device());
            self.block.forward(&mut rec, self.inputs.get(index)?, &mut cache)?;
            rec.submit()?;
        }
        Ok(())
    }
}
